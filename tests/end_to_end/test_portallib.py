"""portallib 0.2.1 as oracle: the same weights and rows give the same factors, losses and gradients."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import portallib
import pytest
import torch
from peft import LoraConfig
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from portallib.config import PortalConfig
from portallib.data import ChoiceDataset, ChoiceExample
from portallib.evaluation import PortalBase, PortalEvaluator
from portallib.training import PortalAdapterRefitter, PortalCoreTrainer, PortalTrainingConfig, _update_ema
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig
from portal.data.token_rows import RowTable, encode_example
from portal.evaluate.loglikelihood import score_rows, summarise
from portal.forward.adapter_hooks import AdapterHooks, Segment, select_slots
from portal.hypernet import Factors
from portal.learners.base import Start, build_learner
from portal.learners.hypernet import HypernetLearner
from portal.learners.optimiser import LossEMA
from portal.tasks.example import Example
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.artifacts import change_config
from tests.support.bases import TASKS, make_base, make_examples, make_run
from tests.support.packs import run_to_end

pytestmark = pytest.mark.oracle

BATCH = 4  # one batch per task, so that both draw the same rows whatever their shuffles
EXAMPLES = {
    split: [e for task in TASKS for e in make_examples(task, split, BATCH)] for split in ("train", "test")
}


@pytest.fixture(scope="module")
def bases() -> dict[str, Base]:
    return {
        "qwen": make_base("qwen", "qwen3", hidden=24, layers=3, seed=1),
        "gemma": make_base("gemma", "gemma3", hidden=32, layers=4, seed=2),
    }


def row_table(base: Base) -> RowTable:
    splits = {"train": EXAMPLES["train"], "validation": EXAMPLES["test"], "test": EXAMPLES["test"]}
    return RowTable(
        encode_example(example, split, base.tokenizer, max_prompt=64)
        for split, examples in splits.items()
        for example in examples
    )


def choice_example(example: Example) -> ChoiceExample:
    return ChoiceExample(example.task, example.prompt, example.choices, example.gold)


def peer_dataset() -> ChoiceDataset:
    return ChoiceDataset(*([choice_example(e) for e in EXAMPLES[split]] for split in ("train", "test")))


def peer_base(base: Base) -> PortalBase:
    return PortalBase(base.name, base.model, base.tokenizer)


def source_learner(
    bases: dict[str, Base], modules: tuple[str, ...], *, tasks: tuple[str, ...] = TASKS
) -> HypernetLearner:
    """Joint training with every weight random, the zero-initialised ones too: no gradient is zero."""
    run = make_run(
        "source",
        *bases,
        adapter=AdapterConfig(modules=modules, rank=4, alpha=8),
        data={"size": BATCH, "tasks": tasks},
    )
    learner = HypernetLearner(run, bases, {name: row_table(base) for name, base in bases.items()})
    perturb([learner.latents, *learner.core.parameters()])
    return learner


def perturb(parameters: Iterable[nn.Parameter]) -> None:
    """Move them away from zeros, behind which gradients are zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def peer_trainer(learner: HypernetLearner) -> PortalCoreTrainer:
    config = PortalTrainingConfig(
        modules=learner.adapter.modules,
        rank=4,
        alpha=8,
        d_z=10,
        d_layer=6,
        hidden=16,
        d_core=12,
        epochs=1,
        batch_size=BATCH,
        source_steps_per_epoch=len(TOLERANCES),
        learning_rate=learner.train.lr,
        latent_learning_rate=learner.train.lr_latent,
        ema_decay=learner.train.ema_decay,
        ema_floor=learner.train.ema_floor,
        lr_scheduler="constant",
        grad_clip=0.0,
        gradient_checkpointing=False,
    )
    peers = [peer_base(base) for base in learner.bases.values()]
    trainer = PortalCoreTrainer(peers, peer_dataset(), tasks=TASKS, config=config)
    trainer.task_latents.data.copy_(learner.latents)
    trainer.core.load_state_dict(learner.core.state_dict())
    for name, converter in learner.converters.items():
        trainer.alignments[name].load_state_dict(converter.state_dict())
    return trainer


def assert_factors_are(
    ours: Factors, theirs: Callable[[int, str], Mapping[tuple[int, str], tuple[Tensor, Tensor]]]
) -> None:
    """Factors of every task, layer and module are those that `theirs` gives for the task's place and name."""
    for slot, task in enumerate(TASKS):
        expected = theirs(slot, task)
        assert len(expected) == sum(len(group.layers) for group in ours)
        for group, (a, b) in ours.items():
            for index, layer in enumerate(group.layers):
                peer_a, peer_b = expected[layer, group.module]
                torch.testing.assert_close(a[slot, index], peer_a, atol=1e-6, rtol=0)
                torch.testing.assert_close(b[slot, index], peer_b, atol=1e-6, rtol=0)


def assert_generates_the_same(peer: portallib.PortalModel, artifact: Artifact) -> None:
    assert artifact.config.tasks == TASKS
    assert_factors_are(artifact.factors(TASKS), lambda _, task: peer.generate(task))


@pytest.mark.parametrize("modules", [("q", "v"), tuple(MODULE_PATHS)])
def test_generated_factors_of_every_layer_and_module_equal_portallibs(
    bases: dict[str, Base], modules: tuple[str, ...]
) -> None:
    learner = source_learner(bases, modules)
    trainer = peer_trainer(learner)

    for base in bases:
        convert = trainer.alignments[base]
        assert_factors_are(
            learner.factors(base), lambda slot, _, to=convert: to(trainer.core, trainer.task_latents[slot])
        )


TOLERANCES = (1e-5, 1e-4)
"""Bounds for the first round and the second, in which the loss averages of the first weigh the tasks, and
AdamW's first step, nearly the gradient's sign, has widened what rounding left."""


@pytest.mark.parametrize("modules", [("q", "v"), tuple(MODULE_PATHS)])
def test_joint_rounds_give_portallibs_gradients(bases: dict[str, Base], modules: tuple[str, ...]) -> None:
    learner = unclipped(source_learner(bases, modules))
    trainer = peer_trainer(learner)
    rows = {name: row_table(base) for name, base in bases.items()}
    pack = Pack(bases, rows, [learner])

    ours = gradients_at_steps(named(learner.latents, learner.core, learner.converters), lambda: steps(pack))
    theirs = gradients_at_steps(named(trainer.task_latents, trainer.core, trainer.alignments), trainer.train)

    assert_gradients_equal(ours, theirs)


def assert_gradients_equal(ours: list[dict[str, Tensor]], theirs: list[dict[str, Tensor]]) -> None:
    """Those of every parameter in every round, and none is zero."""
    for own, peers, tolerance in zip(ours, theirs, TOLERANCES, strict=True):
        assert own.keys() == peers.keys()
        for name, peer in peers.items():
            assert peer.norm() > 0, name
            assert (own[name] - peer).norm() / peer.norm() < tolerance, name


@pytest.mark.parametrize("options", [{}, {"task_gradients": "norm_equalized", "choice_loss": 3.0}])
@pytest.mark.parametrize("name", ["qwen", "gemma"])
def test_refit_rounds_give_portallibs_gradients(
    bases: dict[str, Base], name: str, options: dict[str, str | float], tmp_path: Path
) -> None:
    other = next(base for key, base in bases.items() if key != name)
    origin = source_learner({other.name: other}, ("q", "v"))
    origin.save_artifact(tmp_path, RunRecord.of(origin.run))
    peer_source = portallib.PortalModel.from_pretrained(str(tmp_path / other.name))
    train = TrainConfig(epochs=len(TOLERANCES), lr=1e-2, clip_norm=1e9, evaluate="last_epoch", **options)
    run = make_run("portal", name, data={"size": BATCH}, train=train)
    target = {name: bases[name]}
    rows = {name: row_table(bases[name])}
    learner = HypernetLearner(run, target, rows, Start(tmp_path / other.name))
    refitter = PortalAdapterRefitter(
        peer_source,
        peer_base(bases[name]),
        peer_dataset(),
        config=PortalTrainingConfig.from_portal_config(
            peer_source.config,
            epochs=len(TOLERANCES),
            batch_size=BATCH,
            learning_rate=1e-2,
            grad_clip=0.0,
            gradient_checkpointing=False,
            refit_gradient_strategy=options.get("task_gradients", "sum"),
            refit_choice_loss_weight=options.get("choice_loss", 0.0),
        ),
    )
    perturb(learner.converters[name].parameters())
    refitter.alignment.load_state_dict(learner.converters[name].state_dict())

    ours = gradients_at_steps(
        dict(learner.converters[name].named_parameters()), lambda: steps(Pack(target, rows, [learner]))
    )
    theirs = gradients_at_steps(dict(refitter.alignment.named_parameters()), refitter.refit)

    assert_gradients_equal(ours, theirs)


def steps(pack: Pack) -> None:
    for _ in TOLERANCES:
        for learner, epoch in pack.due():
            pack.evaluate(learner, epoch)
        pack.step()


def named(
    latents: nn.Parameter, core: nn.Module, converters: dict[str, nn.Module]
) -> dict[str, nn.Parameter]:
    found = {"latents": latents} | {f"core.{name}": p for name, p in core.named_parameters()}
    for base, converter in converters.items():
        found |= {f"{base}.{name}": p for name, p in converter.named_parameters()}
    return found


def gradients_at_steps(
    parameters: dict[str, nn.Parameter], train: Callable[[], object]
) -> list[dict[str, Tensor]]:
    """What the optimiser is handed in every step that `train` takes."""
    found: list[dict[str, Tensor]] = []

    def capture(*_: object) -> None:
        found.append({name: parameter.grad.clone() for name, parameter in parameters.items()})

    handle = register_optimizer_step_pre_hook(capture)
    try:
        train()
    finally:
        handle.remove()
    return found


def unclipped(learner: HypernetLearner) -> HypernetLearner:
    learner.run = learner.run.model_copy(
        update={"train": learner.train.model_copy(update={"clip_norm": 1e9})}
    )
    return learner


def test_loss_averages_follow_portallibs() -> None:
    ema = LossEMA(2, decay=0.9, floor=1e-3, device=torch.device("cpu"))
    theirs: list[float | None] = [None, None]
    losses = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))

    for step, loss in enumerate(losses):
        tasks = [0, 1] if step % 3 else [1]  # a task may pause
        normalised = loss[tasks] / ema.divisors(torch.tensor(tasks), loss[tasks])
        ema.commit()
        for place, task in enumerate(tasks):
            average = _update_ema(theirs[task], loss[task].item(), 0.9)
            theirs[task] = average
            assert ema.value_T[task].item() == pytest.approx(average, rel=1e-6)
            assert normalised[place].item() == pytest.approx(loss[task].item() / max(average, 1e-3), rel=1e-6)


@pytest.mark.parametrize("name", ["qwen", "gemma"])
def test_an_artifact_of_ours_loads_in_portallib_and_generates_the_same(
    bases: dict[str, Base], name: str, tmp_path: Path
) -> None:
    learner = source_learner(bases, tuple(MODULE_PATHS))
    learner.save_artifact(tmp_path, RunRecord.of(learner.run))

    peer = portallib.PortalModel.from_pretrained(str(tmp_path / name))

    assert_generates_the_same(peer, Artifact.load(tmp_path / name))


def test_a_taught_artifact_loads_in_portallib_and_generates_and_exports_the_same(
    bases: dict[str, Base], tmp_path: Path
) -> None:
    base, old, new = bases["qwen"], TASKS[:2], TASKS[2:]
    rows = {"qwen": row_table(base)}
    source = source_learner({"qwen": base}, ("q", "v"), tasks=old)
    source.save_artifact(tmp_path / "source", RunRecord.of(source.run))
    run = make_run("taught", "qwen", data={"tasks": new}, train=TrainConfig(epochs=1, lr_latent=0.3))
    taught = build_learner(run, bases, rows, start=Start(tmp_path / "source" / "qwen"))
    run_to_end(Pack({"qwen": base}, rows, [taught]))
    taught.save_artifact(tmp_path / "taught", RunRecord.of(run))

    peer = portallib.PortalModel.from_pretrained(str(tmp_path / "taught"))
    artifact = Artifact.load(tmp_path / "taught")
    assert_generates_the_same(peer, artifact)
    for task in (old[0], new[0]):
        ours, theirs = tmp_path / "ours" / task, tmp_path / "theirs" / task
        artifact.export_peft(task, ours)
        peer.export_peft(task, theirs)
        found, wanted = (load_file(folder / SAFETENSORS_WEIGHTS_NAME) for folder in (ours, theirs))
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=0)
        mine, others = (LoraConfig.from_pretrained(str(folder)) for folder in (ours, theirs))
        assert (mine.r, mine.lora_alpha, mine.task_type) == (others.r, others.lora_alpha, others.task_type)


def test_portallib_refuses_format_2_by_name_which_loads_here(bases: dict[str, Base], tmp_path: Path) -> None:
    learner = source_learner(bases, ("q", "v"))
    learner.save_artifact(tmp_path, RunRecord.of(learner.run))
    portallib.PortalModel.from_pretrained(str(tmp_path / "qwen"))
    (tmp_path / "qwen" / "portal.json").unlink()
    change_config(tmp_path / "qwen", format_version=2)

    with pytest.raises(ValueError, match="require format_version=1"):
        portallib.PortalModel.from_pretrained(str(tmp_path / "qwen"))

    assert Artifact.load(tmp_path / "qwen").config.format_version == 2


def test_an_artifact_of_portallib_loads_here_and_refits(bases: dict[str, Base], tmp_path: Path) -> None:
    config = PortalConfig.from_model(
        bases["qwen"].model, tasks=TASKS, base_model_name_or_path="qwen", rank=4, alpha=8, d_z=10, d_layer=6,
        hidden=16, d_core=12,
    )  # fmt: skip
    peer = portallib.PortalModel(config, torch.randn(len(TASKS), 10))
    torch.nn.init.normal_(peer.core.B["q"].weight)
    peer.save_pretrained(tmp_path)

    artifact = Artifact.load(tmp_path)
    run = make_run("portal", "gemma", data={"size": BATCH})
    rows = {"gemma": row_table(bases["gemma"])}
    port = HypernetLearner(run, {"gemma": bases["gemma"]}, rows, Start(tmp_path))

    assert_generates_the_same(peer, artifact)
    assert torch.equal(port.latents, peer.task_latents)
    assert all(torch.equal(p, q) for p, q in zip(port.core.parameters(), peer.core.parameters(), strict=True))


@pytest.mark.parametrize("name", ["qwen", "gemma"])
def test_scores_equal_portallibs_evaluator(bases: dict[str, Base], name: str) -> None:
    base = bases[name]
    learner = source_learner(bases, ("q", "v"))
    trainer = peer_trainer(learner)
    theirs = PortalEvaluator(max_prompt=64).evaluate(
        peer_base(base), peer_dataset(), tasks=TASKS, portal=trainer._portal(peer_base(base))
    )

    for slot, task in enumerate(TASKS):
        segment = Segment(1, select_slots(learner.factors(name), [slot]), learner.adapter.scaling)
        with torch.no_grad(), AdapterHooks(base.model, base.sites).active([segment]):
            ours = summarise(score_rows(base, row_table(base).rows(task, "test")))
        assert ours.acc_norm["chars"] == theirs.tasks[task].accuracy
        assert ours.log_loss == pytest.approx(theirs.tasks[task].gold_nll, rel=1e-5)
