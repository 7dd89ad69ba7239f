"""Per-task LoRA follows peft's own training, and every adapter trains as if it were alone."""

import pytest
import torch

from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig
from portal.learners.lora import LoraLearner
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import TASKS, make_base, make_rows, make_run
from tests.support.peft_lora import train_with_peft

ADAPTER = AdapterConfig(modules=tuple(MODULE_PATHS), rank=4, alpha=8)


def lora_pack(
    base: Base, *, tasks: tuple[str, ...] = TASKS, clip_norm: float = 1.0
) -> tuple[Pack, LoraLearner]:
    rows = {base.name: make_rows(base)}
    train = TrainConfig(epochs=8, lr=1e-2, schedule="linear", clip_norm=clip_norm, evaluate="last_epoch")
    run = make_run("lora", base.name, adapter=ADAPTER, train=train, data={"tasks": tasks})
    learner = LoraLearner(run, {base.name: base}, rows)
    return Pack({base.name: base}, rows, [learner]), learner


@pytest.mark.oracle
@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_training_follows_pefts_own(family: str) -> None:
    base = make_base("base", family)
    pack, learner = lora_pack(base)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    start = [parameter.clone() for stack in learner.stacks for parameter in stack.parameters]
    peers = {task: train_with_peft(learner, base, task) for task in TASKS}
    ours = []

    for _ in range(learner.num_steps):
        pack.step()
        pack.sync_metrics()
        ours.append(pack.losses[learner.run.key])

    theirs = [
        sum(losses) / len(TASKS) for losses in zip(*(peer.losses for peer in peers.values()), strict=True)
    ]
    assert ours == pytest.approx(theirs, rel=1e-5)
    for task in TASKS:
        for group, (a, b) in learner.task_factors(task).items():
            for index, layer in enumerate(group.layers):
                peer_a, peer_b = peers[task].pairs[f"{base.layer_path}.{layer}.{MODULE_PATHS[group.module]}"]
                torch.testing.assert_close(a[0, index], peer_a, atol=2e-6, rtol=0)
                torch.testing.assert_close(b[0, index], peer_b, atol=2e-6, rtol=0)
    moved = [parameter for stack in learner.stacks for parameter in stack.parameters]
    assert not any(torch.equal(old, new) for old, new in zip(start, moved, strict=True))
    assert ours[-1] < ours[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())


def test_an_adapter_trains_the_same_whichever_tasks_train_beside_it() -> None:
    base = make_base("base", "qwen3")
    together, learner = lora_pack(base)
    alone, single = lora_pack(base, tasks=("sums",))

    for _ in range(5):
        together.step()
        alone.step()

    for group, (a, b) in learner.task_factors("sums").items():
        torch.testing.assert_close(a, single.task_factors("sums")[group][0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(b, single.task_factors("sums")[group][1], atol=1e-6, rtol=1e-5)


def test_clipping_is_by_each_adapters_own_norm() -> None:
    base = make_base("base", "qwen3")
    pack, learner = lora_pack(base, clip_norm=1e-3)
    (stack,) = learner.stacks
    for parameter in stack.parameters:
        parameter.grad = torch.ones_like(parameter)
        parameter.grad[0] = 0.0

    stack.clip(1e-3)

    norms = torch.stack([p.grad.flatten(1).square().sum(1) for p in stack.parameters]).sum(0).sqrt()
    assert norms[0] == 0.0
    assert norms[1:].tolist() == pytest.approx([1e-3] * (len(TASKS) - 1), rel=1e-3)
    assert pack.failed == {}


def test_a_task_with_fewer_rows_stops_after_its_own_epochs() -> None:
    base = make_base("base", "qwen3")
    rows = {base.name: make_rows(base)}
    few = [
        row for row in rows[base.name].all() if row.task != "sums" or row.split != "train" or row.id < "003"
    ]
    rows = {base.name: type(rows[base.name])(few)}
    run = make_run("lora", base.name, adapter=ADAPTER)
    learner = LoraLearner(run, {base.name: base}, rows)
    pack = Pack({base.name: base}, rows, [learner])

    finished = None
    scored = []
    while pack.active:
        scored += [
            (r["task"], r["epoch"]) for due, epoch in pack.due() for r in pack.evaluate(due, epoch).results
        ]
        if learner.step < learner.num_steps:
            if learner.step == learner.schedule.task_steps("sums"):
                finished = [
                    factor.clone() for pair in learner.task_factors("sums").values() for factor in pair
                ]
            pack.step()

    assert learner.schedule.task_steps("sums") == 2 < learner.num_steps == 6
    assert finished is not None
    after = [factor for pair in learner.task_factors("sums").values() for factor in pair]
    assert all(torch.equal(before, now) for before, now in zip(finished, after, strict=True))
    assert sorted(set(scored)) == sorted((task, epoch) for task in TASKS for epoch in range(3))
