"""Per-task LoRAs against peft: all of them in one pack, and a single one alone."""

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.comparison import Comparison
from benchmarks.measure import ratio, take_turns
from benchmarks.peft_adapter import PeftAdapter
from benchmarks.runs import make_run
from benchmarks.sample import as_table, draw, task_names
from portal.bases.base import Base, load_base
from portal.config import AdapterConfig
from portal.data.token_rows import RowTable
from portal.device import release_memory
from portal.learners.lora import LoraLearner
from portal.modules import ALL_MODULES
from portal.training.pack import Pack

BATCH = 4
SEEDS = 3
EVERYTHING = AdapterConfig(modules=ALL_MODULES, rank=16, alpha=32)
NARROW = AdapterConfig(modules=("q", "v"), rank=8, alpha=16)
FOREVER = {"epochs": 10**6, "evaluate": "last_epoch", "lr": 1e-4, "batch_size": BATCH}


def packed() -> list[Comparison]:
    """A step of every task's adapter in three seeds, r16 on all modules."""
    lines = []
    for name in ("mini-qwen3-s", "mini-qwen3-m", "mini-gemma3"):
        base = load_base(name)
        examples = draw("mini", BATCH, seed=0)
        tasks = task_names(examples)
        rows = as_table(examples, base)
        what = f"step of {len(tasks)} tasks' LoRAs in {SEEDS} seeds, all r16, {name}"
        lines += compare_packed(base, rows, tasks, EVERYTHING, what, seeds=SEEDS, target=2.5)
    return lines


def compare_packed(
    base: Base,
    rows: RowTable,
    tasks: tuple[str, ...],
    adapter: AdapterConfig,
    what: str,
    *,
    seeds: int,
    target: float | None,
    repeats: int = 15,
) -> list[Comparison]:
    """A step of every task's LoRA in so many seeds, in one pack, against peft one adapter after another."""
    ours, lines = _pack(base, rows, tasks, adapter, seeds=seeds), []
    for answer_only in (False, True):
        peer = PeftAdapter(base, adapter, answer_only=answer_only)
        theirs = partial(_step_all, peer, rows, tasks, seeds)
        spent = take_turns({"ours": ours, "theirs": theirs}, repeats=repeats)
        logits = "answer-only logits" if answer_only else "transformers' loss"
        against = f"peft, one after another, {logits}"
        lines.append(Comparison(what, against, target, ratio(spent["ours"], spent["theirs"])))
        del peer, theirs  # a copy of the base
        release_memory()
    del ours  # a pack's learners
    release_memory()
    return lines


def single_embedded() -> list[Comparison]:
    """A step of one LoRA on an embedded base."""
    return _single("mini-qwen3-m", "mini", "fact_qa", repeats=40)


def single_smollm2() -> list[Comparison]:
    """A step of one LoRA on a real base and real rows."""
    return _single("smollm2-135m", "portal14", "arc_easy", repeats=8)


def _single(name: str, suite: str, task: str, *, repeats: int) -> list[Comparison]:
    base = load_base(name)
    examples = [example for example in draw(suite, BATCH, seed=0) if example.task == task]
    rows = as_table(examples, base)
    lines = []
    for label, adapter, target in (("q/v r8", NARROW, 1.1), ("all r16", EVERYTHING, 1.3)):
        ours = _pack(base, rows, (task,), adapter, seeds=1)
        peer = PeftAdapter(base, adapter, answer_only=True)
        batch = rows.rows(task, "train")
        theirs = partial(peer.step, batch)
        spent = take_turns({"ours": ours, "theirs": theirs}, repeats=repeats, warm_up=3)
        lines.append(
            Comparison(
                f"step of one LoRA alone, {label}, {BATCH} rows, {name}",
                "peft, answer-only logits",
                target,
                ratio(spent["ours"], spent["theirs"]),
                sense="cost",
            )
        )
    return lines


def _step_all(peer: PeftAdapter, rows: RowTable, tasks: Sequence[str], seeds: int) -> None:
    """One adapter stands for all: a step takes as long in each, and the base stays in the cache."""
    for _ in range(seeds):
        for task in tasks:
            peer.step(rows.rows(task, "train"))


def make_pack(
    base: Base, rows: RowTable, tasks: tuple[str, ...], adapter: AdapterConfig, *, seeds: int
) -> Pack:
    """A pack of LoRA learners of all these tasks, one per seed, that train without end."""
    runs = [
        make_run("lora", base, tasks, size=BATCH, seed=seed, adapter=adapter, train=FOREVER)
        for seed in range(seeds)
    ]
    by_base = {base.name: base}, {base.name: rows}
    return Pack(*by_base, [LoraLearner(run, *by_base) for run in runs])


def _pack(
    base: Base, rows: RowTable, tasks: tuple[str, ...], adapter: AdapterConfig, *, seeds: int
) -> Callable[[], None]:
    """A step of a pack of LoRA learners."""
    pack = make_pack(base, rows, tasks, adapter, seeds=seeds)

    def step() -> None:
        pack.step()
        pack.sync_metrics()

    return step
