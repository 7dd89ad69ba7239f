"""One round of joint training, every task x 4 rows, against portallib's trainer: same weights, same rows.

Bases are in fp32, and where the CPU has it a real one also in bf16: against portallib in bf16 and in fp32,
its default on CPUs, and against the same in fp32.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from portallib.evaluation import PortalBase
from portallib.training import PortalCoreTrainer, PortalTrainingConfig
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.comparison import Comparison
from benchmarks.measure import REPEATS, Ratio, ratio, take_turns
from benchmarks.runs import make_run
from benchmarks.sample import as_dataset, as_table, draw, task_names
from portal.bases.base import Base, load_base
from portal.bases.precision import cpu_has_bf16
from portal.device import release_memory, wait_for_device
from portal.learners.hypernet import HypernetLearner
from portal.tasks.example import Example
from portal.training.pack import Pack

BATCH = 4
BF16_TARGET = 2.2
"""Of a round in fp32 over one with the base in bf16."""
_REAL = "smollm2-135m"


def smollm2() -> list[Comparison]:
    """Real rows on a real base: arithmetic bounds it."""
    return _compare(_REAL, "portal14", target=1.5)


def smollm2_bf16() -> list[Comparison]:
    """The same with the base in bf16; nothing where the CPU would emulate that."""
    if not cpu_has_bf16():
        return []
    examples = draw("portal14", BATCH, seed=0)
    bases = {precision: load_base(_REAL, precision=precision) for precision in ("bf16", "default")}
    spent = take_turns({precision: _round(base, examples) for precision, base in bases.items()})
    what = _what(f"{_REAL} in bf16", examples)
    own = Comparison(what, "the same in fp32", BF16_TARGET, ratio(spent["bf16"], spent["default"]))
    return [
        own,
        *compare_rounds(
            partial(load_base, _REAL, precision="bf16"),
            {
                "portallib": partial(load_base, _REAL, precision="bf16", operations="plain"),
                "portallib in fp32 (its default on CPUs)": partial(load_base, _REAL, operations="plain"),
            },
            examples,
            target=1.5,
            rounds=REPEATS,
            name=f"{_REAL} in bf16",
        ),
    ]


def embedded() -> list[Comparison]:
    """Short rows on small bases: launches bound it."""
    bases = ("mini-qwen3-s", "mini-qwen3-m", "mini-gemma3")
    return [line for base in bases for line in _compare(base, "mini", target=7.0, rounds=20)]


def _compare(name: str, suite: str, *, target: float, rounds: int = REPEATS) -> list[Comparison]:
    peer = {"portallib": partial(load_base, name, operations="plain")}
    examples = draw(suite, BATCH, seed=0)
    return compare_rounds(partial(load_base, name), peer, examples, target=target, rounds=rounds, name=name)


def compare_rounds(
    load: Callable[[], Base],
    peers: Mapping[str, Callable[[], Base]],
    examples: Sequence[Example],
    *,
    target: float | None,
    rounds: int,
    name: str,
) -> list[Comparison]:
    """A round on all the examples' tasks against portallib, which keeps activations or computes them again.

    `load` gives the base for ours, and `peers` one of the same weights for portallib, which changes its
    settings, by what the table says of it. The table calls ours by its `name`.
    """
    lines = []
    for against, load_peer in peers.items():
        for checkpointing in (True, False):
            default = " (its default)" if checkpointing else ""
            spent = _alternate(load(), load_peer(), examples, checkpointing=checkpointing, rounds=rounds)
            peer = f"{against}, gradient_checkpointing={checkpointing}{default}"
            lines.append(Comparison(_what(name, examples), peer, target, spent))
            release_memory()  # of both bases
    return lines


def _what(base: str, examples: Sequence[Example]) -> str:
    return f"training round, {len(task_names(examples))} tasks x {BATCH} rows, q/v r8, {base}"


def _round(base: Base, examples: Sequence[Example]) -> Callable[[], None]:
    """A step of ours, and the wait for it."""
    pack, _ = _ours(base, examples, rounds=10**6)

    def step() -> None:
        pack.step()
        pack.sync_metrics()

    return step


def _alternate(
    base: Base, peer: Base, examples: Sequence[Example], *, checkpointing: bool, rounds: int
) -> Ratio:
    """portallib's trainer runs; after each of its optimiser steps, one step of ours."""
    pack, learner = _ours(base, examples, rounds)
    trainer = _theirs(peer, examples, learner, checkpointing=checkpointing, rounds=rounds)
    ours: list[float] = []
    theirs: list[float] = []
    ended = [0.0]

    def after_step(optimizer: object, args: object, kwargs: object) -> None:
        if optimizer is learner.optimisers[0]._adamw:
            return
        wait_for_device()
        now = time.perf_counter()
        theirs.append(now - ended[0])
        started = time.perf_counter()
        pack.step()
        pack.sync_metrics()
        ours.append(time.perf_counter() - started)
        ended[0] = time.perf_counter()

    handle = register_optimizer_step_post_hook(after_step)
    try:
        trainer.train()
    finally:
        handle.remove()
    return ratio(ours[1:], theirs[1:])  # the first round of theirs counts from nowhere


def _ours(base: Base, examples: Sequence[Example], rounds: int) -> tuple[Pack, HypernetLearner]:
    run = make_run(
        "source",
        base,
        task_names(examples),
        size=BATCH,
        train={"rounds_per_epoch": rounds + 1, "epochs": 1, "evaluate": "last_epoch", "batch_size": BATCH},
    )
    rows = {base.name: as_table(examples, base)}
    learner = HypernetLearner(run, {base.name: base}, rows)
    return Pack({base.name: base}, rows, [learner]), learner


def _theirs(
    base: Base, examples: Sequence[Example], learner: HypernetLearner, *, checkpointing: bool, rounds: int
) -> PortalCoreTrainer:
    config = PortalTrainingConfig(
        epochs=1,
        batch_size=BATCH,
        source_steps_per_epoch=rounds + 1,
        eval_max_examples=1,
        gradient_checkpointing=checkpointing,
    )
    adapted = PortalBase(base.name, base.model, base.tokenizer)
    trainer = PortalCoreTrainer([adapted], as_dataset(examples), tasks=learner.tasks, config=config)
    trainer.task_latents.data.copy_(learner.latents)
    trainer.core.load_state_dict(learner.core.state_dict())
    trainer.alignments[base.name].load_state_dict(learner.converters[base.name].state_dict())
    return trainer
