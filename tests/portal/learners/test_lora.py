"""Per-task LoRAs follow peft's own training, each as if it were alone; a shared one is in every slot."""

from pathlib import Path

import pytest
import torch

from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import read_peft_factors
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig, RunConfig
from portal.learners.lora import LoraLearner, SharedLora
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import TASKS, make_base, make_rows, make_run
from tests.support.packs import make_pack, run_to_end
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
    start = [parameter.clone() for each in learner.optimisers for parameter in each.parameters]
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
    moved = [parameter for each in learner.optimisers for parameter in each.parameters]
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
    (optimiser,) = learner.optimisers
    for parameter in optimiser.parameters:
        parameter.grad = torch.ones_like(parameter)
        parameter.grad[0] = 0.0

    optimiser.clip()

    norms = torch.stack([p.grad.flatten(1).square().sum(1) for p in optimiser.parameters]).sum(0).sqrt()
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


RUN = make_run("shared_lora", "target", train=TrainConfig(epochs=3, lr=1e-2))


def learner_of(pack: Pack) -> SharedLora:
    learner = pack.learners[0]
    assert isinstance(learner, SharedLora)
    return learner


def step(pack: Pack, count: int = 1) -> None:
    for _ in range(count):
        for learner, epoch in pack.due():
            pack.evaluate(learner, epoch)
        pack.step()
    pack.sync_metrics()


def test_the_base_is_unchanged_at_the_start_and_every_factor_trains_by_the_second_step(
    bases: dict[str, Base],
) -> None:
    pack = make_pack(bases, [RUN], None)
    learner = learner_of(pack)
    start = {name: tensor.clone() for name, tensor in learner.tensors().items() if "parameter" in name}
    assert all(not b.any() for _, b in learner.factors("target").values())

    step(pack, 2)

    for name, tensor in learner.tensors().items():
        if "parameter" in name:
            assert not torch.equal(tensor, start[name]), name


def test_every_slot_has_the_same_adapter_and_its_parameters_count_once(bases: dict[str, Base]) -> None:
    pack = make_pack(bases, [RUN], None)
    step(pack, 3)
    learner = learner_of(pack)

    count = 0
    for a, b in learner.factors("target").values():
        assert len(a) == len(b) == len(TASKS)
        for factor in (a, b):
            assert all(torch.equal(factor[0], each) for each in factor)
            count += factor[0].numel()
    assert learner.num_trained_params == count


def single(run: RunConfig, method: str) -> RunConfig:
    data = run.data.model_copy(update={"tasks": TASKS[:1]})
    return run.model_copy(update={"method": method, "data": data})


def test_with_one_task_it_is_that_tasks_lora(bases: dict[str, Base]) -> None:
    shared, alone = (make_pack(bases, [single(RUN, name)], None) for name in ("shared_lora", "lora"))
    (lora,) = alone.learners
    assert isinstance(lora, LoraLearner)
    for (a, b), (own_a, own_b) in zip(
        lora.factors("target").values(), learner_of(shared).factors("target").values(), strict=True
    ):
        a.data.copy_(own_a)
        b.data.copy_(own_b)

    step(shared, 5)
    step(alone, 5)

    for ours, theirs in zip(
        learner_of(shared).factors("target").values(), lora.factors("target").values(), strict=True
    ):
        for factor, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(factor, expected, rtol=1e-5, atol=1e-7)


def test_its_gradient_is_the_mean_of_the_tasks_gradients(bases: dict[str, Base]) -> None:
    """With plain moments after one step, AdamW's first moment is a tenth of the gradient."""

    def first_moments(*tasks: str) -> list[torch.Tensor]:
        data = {"calibrated": tasks} if len(tasks) < len(TASKS) else {}
        train = TrainConfig(epochs=1, lr=1e-2, clip_norm=1e9)
        pack = make_pack(bases, [make_run("shared_lora", "target", data=data, train=train)], None)
        step(pack)
        tensors = learner_of(pack).tensors()
        return [tensors[name] for name in sorted(tensors) if name.endswith("exp_avg")]

    together = first_moments(*TASKS)
    apart = [first_moments(task) for task in TASKS]

    for index, moment in enumerate(together):
        mean = sum(each[index] for each in apart) / len(TASKS)
        torch.testing.assert_close(moment, mean, rtol=1e-4, atol=1e-9)


def test_a_resumed_run_and_one_in_a_pack_equal_an_unbroken_one_alone_bit_for_bit(
    bases: dict[str, Base],
) -> None:
    alone, first, second = (make_pack(bases, [RUN], None) for _ in range(3))
    company = make_pack(bases, [RUN, make_run("lora", "target"), make_run("hypernet", "target")], None)
    run_to_end(alone)
    run_to_end(company)
    step(first, 2)
    tensors, meta = first.learners[0].state()
    second.learners[0].restore({name: tensor.clone() for name, tensor in tensors.items()}, meta)
    run_to_end(second)

    for other in (second, company):
        for name, tensor in learner_of(other).tensors().items():
            assert torch.equal(tensor, learner_of(alone).tensors()[name]), name


def test_the_best_epoch_is_kept_and_its_adapter_written_once_for_every_task(
    bases: dict[str, Base], tmp_path: Path
) -> None:
    run = RUN.model_copy(update={"train": TrainConfig(epochs=3, lr=3e-2, keep="best_validation")})
    pack = make_pack(bases, [run], None)
    run_to_end(pack)
    learner = learner_of(pack)

    assert len(set(learner.restore_kept().values())) == 1
    learner.save_artifact(tmp_path, RunRecord.of(run))

    written = [read_peft_factors(tmp_path / task, torch.device("cpu")) for task in TASKS]
    for factors in written:
        assert factors.keys() == written[0].keys()
        for place, pair in factors.items():
            assert all(
                torch.equal(ours, theirs) for ours, theirs in zip(pair, written[0][place], strict=True)
            )


@pytest.mark.parametrize("calibrated", [TASKS[:1], TASKS[1:]])
def test_tasks_without_a_row_are_scored_with_it_and_marked(
    bases: dict[str, Base], calibrated: tuple[str, ...]
) -> None:
    run = make_run("shared_lora", "target", data={"calibrated": calibrated})

    rows = run_to_end(make_pack(bases, [run], None))[run.key]

    assert {(row["task"], row["calibrated"]) for row in rows} == {
        (task, task in calibrated) for task in TASKS
    }
