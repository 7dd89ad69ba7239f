"""Per-task LoRAs follow peft's own training, each as if it were alone; a shared one is in every slot."""

from pathlib import Path

import pytest
import torch

from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import read_peft_factors
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig
from portal.learners.lora import LoraLearner, SharedLora
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import TASKS, make_base, make_run
from tests.support.packs import Tiny, advance, run_to_end
from tests.support.peft_lora import train_with_peft

ADAPTER = AdapterConfig(modules=tuple(MODULE_PATHS), rank=4, alpha=8)


def lora_pack(
    base: Base, *, tasks: tuple[str, ...] = TASKS, clip_norm: float = 1.0
) -> tuple[Pack, LoraLearner]:
    train = TrainConfig(epochs=8, lr=1e-2, schedule="linear", clip_norm=clip_norm, evaluate="last_epoch")
    run = make_run("lora", base.name, adapter=ADAPTER, train=train, data={"tasks": tasks})
    pack = Tiny({base.name: base}).pack(run)
    (learner,) = pack.learners
    assert isinstance(learner, LoraLearner)
    return pack, learner


@pytest.mark.oracle
@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_training_follows_pefts_own(family: str) -> None:
    base = make_base("base", family)
    pack, learner = lora_pack(base)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    peers = {task: train_with_peft(learner, base, task) for task in TASKS}

    ours = [losses[learner.run.key] for losses in advance(pack, learner.num_steps)]

    theirs = torch.tensor([peer.losses for peer in peers.values()], dtype=torch.float64).mean(0).tolist()
    assert ours == pytest.approx(theirs, rel=1e-5)
    for task in TASKS:
        for group, (a, b) in learner.task_factors(task).items():
            for index, layer in enumerate(group.layers):
                pair = peers[task].pairs[f"{base.layer_path}.{layer}.{MODULE_PATHS[group.module]}"]
                torch.testing.assert_close((a[0, index], b[0, index]), pair, atol=2e-6, rtol=0)
    assert ours[-1] < ours[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())


def test_clipping_is_by_each_adapters_own_norm() -> None:
    pack, learner = lora_pack(make_base("base", "qwen3"), clip_norm=1e-3)
    (optimiser,) = learner.optimisers
    for parameter in optimiser.parameters:
        parameter.grad = torch.ones_like(parameter)
        parameter.grad[0] = 0.0

    optimiser.clip()

    norms = torch.stack([p.grad.flatten(1).square().sum(1) for p in optimiser.parameters]).sum(0).sqrt()
    assert norms[0] == 0.0
    assert norms[1:].tolist() == pytest.approx([1e-3] * (len(TASKS) - 1), rel=1e-3)
    assert pack.failed == {}


def test_a_task_with_fewer_rows_stops_after_its_own_epochs(tiny: Tiny) -> None:
    pack = tiny.pack(make_run("lora", "target", adapter=ADAPTER), counts={"sums": 3})
    (learner,) = pack.learners
    after: list[list[torch.Tensor]] = []

    def keep() -> None:
        after.append([f.clone() for pair in learner.task_factors("sums").values() for f in pair])

    (rows,) = run_to_end(pack, keep).values()

    steps = learner.schedule.task_steps("sums")
    assert steps == 2 < learner.num_steps == len(after) == 6
    assert not any(torch.equal(*pair) for pair in zip(after[0], after[steps - 1], strict=True))
    assert all(torch.equal(*pair) for pair in zip(after[steps - 1], after[-1], strict=True))
    scored = sorted({(row["task"], row["epoch"]) for row in rows})
    assert scored == sorted((task, epoch) for task in TASKS for epoch in range(3))


RUN = make_run("shared_lora", "target", train=TrainConfig(epochs=3, lr=1e-2))


def shared_pack(tiny: Tiny, **changes: object) -> tuple[Pack, SharedLora]:
    pack = tiny.pack(make_run("shared_lora", "target", **{"train": RUN.train, **changes}))
    (learner,) = pack.learners
    assert isinstance(learner, SharedLora)
    return pack, learner


def test_every_slot_has_the_same_adapter_which_counts_once_and_is_written_for_every_task(
    tiny: Tiny, tmp_path: Path
) -> None:
    pack, learner = shared_pack(tiny, train=TrainConfig(epochs=3, lr=3e-2, keep="best_validation"))
    run_to_end(pack)

    assert len(set(learner.restore_kept().values())) == 1
    factors = [factor for pair in learner.factors("target").values() for factor in pair]
    assert all(len(factor) == len(TASKS) for factor in factors)
    assert all(torch.equal(factor[0], each) for factor in factors for each in factor)
    assert learner.num_trained_params == sum(factor[0].numel() for factor in factors)
    learner.save_artifact(tmp_path, RunRecord.of(learner.run))
    first, *others = (read_peft_factors(tmp_path / task, torch.device("cpu")) for task in TASKS)
    for written in others:
        torch.testing.assert_close(written, first, rtol=0, atol=0)


def test_with_one_task_it_is_that_tasks_lora(tiny: Tiny) -> None:
    only = {"data": {"tasks": TASKS[:1]}, "train": RUN.train}
    shared, alone = (tiny.pack(make_run(method, "target", **only)) for method in ("shared_lora", "lora"))
    ours, theirs = (pack.learners[0].factors("target") for pack in (shared, alone))
    for pair, own in zip(theirs.values(), ours.values(), strict=True):
        for factor, start in zip(pair, own, strict=True):
            factor.data.copy_(start)

    for pack in (shared, alone):
        advance(pack, 5)

    ours, theirs = ([*pack.learners[0].factors("target").values()] for pack in (shared, alone))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_its_gradient_is_the_mean_of_the_tasks_gradients(tiny: Tiny) -> None:
    """With plain moments after one step, AdamW's first moment is a tenth of the gradient."""

    def first_moments(*tasks: str) -> list[torch.Tensor]:
        data = {"calibrated": tasks} if len(tasks) < len(TASKS) else {}
        pack, learner = shared_pack(tiny, data=data, train=TrainConfig(epochs=1, lr=1e-2, clip_norm=1e9))
        advance(pack)
        tensors = learner.tensors()
        return [tensors[name] for name in sorted(tensors) if name.endswith("exp_avg")]

    apart = [first_moments(task) for task in TASKS]

    means = [sum(each) / len(TASKS) for each in zip(*apart, strict=True)]
    torch.testing.assert_close(first_moments(*TASKS), means, rtol=1e-4, atol=1e-9)


def test_tasks_without_a_row_are_scored_with_it_and_marked(tiny: Tiny) -> None:
    for calibrated in (TASKS[:1], TASKS[1:]):
        rows = tiny.ended(make_run("shared_lora", "target", data={"calibrated": calibrated})).rows
        marks = {(row["task"], row["calibrated"]) for row in rows}
        assert marks == {(task, task in calibrated) for task in TASKS}
