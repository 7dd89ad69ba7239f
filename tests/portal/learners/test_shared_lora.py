"""One LoRA for all tasks: one adapter in every slot, trained on the mean of the tasks' losses."""

from pathlib import Path

import pytest
import torch

from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import read_peft_factors
from portal.bases.base import Base
from portal.config import RunConfig
from portal.learners.lora import LoraLearner
from portal.learners.shared_lora import SharedLora
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import TASKS, make_run
from tests.support.packs import make_pack, run_to_end

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
