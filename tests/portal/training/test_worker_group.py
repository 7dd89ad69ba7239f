"""A pack stepped by several processes: the same numbers as by one, whichever process has which rows."""

import copy
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributed

from portal.bases.base import Base
from portal.forward.microbatch import SlotRows
from portal.learners.hypernet import HypernetLearner
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from portal.training.train_step import Forwards
from portal.training.worker_group import OutOfMemoryElsewhere, Sharding, WorkerGroup
from tests.support.bases import make_run
from tests.support.groups import on_group, shared_pack
from tests.support.packs import FinishedPack, make_pack, mixed_runs, refuse_forwards, run_to_end

End = tuple[dict[str, list[dict[str, object]]], dict[str, dict[str, Tensor]], dict[str, str]]


def end_of(pack: Pack, results: dict[str, list[dict[str, object]]]) -> End:
    """Result rows without times, the state of every learner, and which failed."""
    rows = {key: [{**row, "wall_s": 0.0} for row in own] for key, own in results.items()}
    return rows, {learner.key: learner.tensors() for learner in pack.learners}, pack.failed


def assert_same(found: End, expected: End) -> None:
    assert found[0] == expected[0]
    assert found[2] == expected[2]
    for key, tensors in expected[1].items():
        assert all(torch.equal(found[1][key][name], value) for name, value in tensors.items())


def test_joint_training_with_a_worker_for_each_base_is_that_of_one_worker_to_the_last_bit(
    bases: dict[str, Base],
) -> None:
    torch.set_num_threads(1)
    runs = [
        make_run("source", "small", "target", train=TrainConfig(epochs=2, lr=3e-3)),
        make_run("source", "small", "target", seed=1, train=TrainConfig(epochs=1, lr=1e-2)),
    ]
    pack = make_pack(bases, runs, None)
    expected = end_of(pack, run_to_end(pack))

    def work(group: WorkerGroup) -> End:
        pack = shared_pack(bases, runs, None, group)
        return end_of(pack, run_to_end(pack))

    for found in on_group(2, work):
        assert_same(found, expected)


def test_a_group_has_exchanged_a_number_before_its_workers_load_anything() -> None:
    """So that a shortage of memory in NCCL's first exchange meets a GPU that is empty."""

    def work(group: WorkerGroup) -> list[int]:
        exchanged: list[int] = []
        reduce = distributed.all_reduce

        def counted(tensor: Tensor, *arguments: Any, **options: Any) -> None:
            exchanged.append(tensor.numel())
            reduce(tensor, *arguments, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distributed, "all_reduce", counted)
            WorkerGroup(group.rank, group.size)
        return exchanged

    assert on_group(2, work) == [[1], [1]]


def test_workers_of_two_bases_run_their_forwards_at_the_same_time(bases: dict[str, Base]) -> None:
    """Each waits inside its forwards until the other is in its own."""
    runs = [make_run("source", "small", "target", train=TrainConfig(epochs=1, lr=3e-3))]
    meeting = multiprocessing.get_context("fork").Barrier(2)

    def work(group: WorkerGroup) -> list[str]:
        pack = shared_pack(bases, runs, None, group)
        run, met = Forwards.run, []

        def meet(self: Forwards, base: str, *arguments: Any) -> None:
            meeting.wait(60)
            met.append(base)
            run(self, base, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Forwards, "run", meet)
            run_to_end(pack)
        return met

    first, second = on_group(2, work)
    steps = len(first)
    assert steps > 1
    assert (first, second) == (["small"] * steps, ["target"] * steps)


@pytest.mark.slow
def test_a_step_of_two_workers_with_half_a_second_of_work_on_each_base_takes_no_second(
    bases: dict[str, Base],
) -> None:
    runs = [make_run("source", "small", "target", train=TrainConfig(epochs=4, lr=3e-3))]
    work_s, most_s = 0.5, 0.65

    def work(group: WorkerGroup) -> list[float]:
        pack = shared_pack(bases, runs, None, group)
        run = Forwards.run

        def work_on(self: Forwards, base: str, *arguments: Any) -> None:
            time.sleep(work_s)
            run(self, base, *arguments)

        spent = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Forwards, "run", work_on)
            for _ in range(6):
                for learner, epoch in pack.due():
                    pack.evaluate(learner, epoch)
                started = time.monotonic()
                pack.step()
                spent.append(time.monotonic() - started)
        return spent

    for spent in on_group(2, work):
        assert work_s <= min(spent) <= most_s  # the least: other processes may hold a step up


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_rows_divided_among_workers_give_the_same_step_up_to_rounding(
    bases: dict[str, Base], source: Path, mixed_end: FinishedPack, size: int
) -> None:
    runs = mixed_runs()
    scores = [row for results in mixed_end.results.values() for row in results]

    def work(group: WorkerGroup) -> tuple[End, list[dict[str, Tensor]]]:
        pack = shared_pack(bases, runs, source, group)
        first: list[dict[str, Tensor]] = []

        def keep() -> None:
            if not first:
                first.extend(copy.deepcopy(learner.tensors()) for learner in pack.learners)

        return end_of(pack, run_to_end(pack, keep)), first

    alone = make_pack(bases, runs, source)
    for learner, epoch in alone.due():
        alone.evaluate(learner, epoch)
    alone.step()
    answers = on_group(size, work)
    for found, first in answers:
        assert_same(found, answers[0][0])
        for learner, tensors in zip(alone.learners, first, strict=True):
            for name, value in learner.tensors().items():
                if name.endswith("exp_avg"):  # a tenth of the step's gradient
                    assert (tensors[name] - value).norm() <= 1e-6 * value.norm(), (learner.run.method, name)
        rows = [row for results in found[0].values() for row in results]
        assert [row["task"] for row in rows] == [row["task"] for row in scores]
        for ours, theirs in zip(rows, scores, strict=True):
            assert ours["log_loss"] == pytest.approx(theirs["log_loss"], rel=2e-3)
            assert ours["train_tokens"] == theirs["train_tokens"]


def test_joint_training_by_three_workers_on_two_bases_is_that_of_one_worker_up_to_rounding(
    bases: dict[str, Base],
) -> None:
    runs = [make_run("source", "small", "target", train=TrainConfig(epochs=1, lr=3e-3))]
    pack = make_pack(bases, runs, None)
    run_to_end(pack)

    def work(group: WorkerGroup) -> End:
        pack = shared_pack(bases, runs, None, group)
        return end_of(pack, run_to_end(pack))

    for _, states, failed in on_group(3, work):
        assert not failed
        for name, value in pack.learners[0].tensors().items():
            assert torch.allclose(states[runs[0].key][name], value, rtol=1e-3, atol=1e-5), name


def test_a_run_that_diverges_leaves_every_worker_at_the_same_step(bases: dict[str, Base]) -> None:
    runs = [make_run("source", "small", "target", seed=seed) for seed in (0, 1)]

    def run(pack: Pack) -> End:
        bad = pack.learners[0]
        assert isinstance(bad, HypernetLearner)

        def poison() -> None:
            if bad.step == 2:
                bad.converters["target"].input["q"].data.fill_(torch.nan)

        return end_of(pack, run_to_end(pack, poison))

    def work(group: WorkerGroup) -> End:
        return run(shared_pack(bases, runs, None, group))

    expected = run(make_pack(bases, runs, None))
    assert list(expected[2]) == [runs[0].key]
    for found in on_group(2, work):
        assert found[0][runs[1].key] == expected[0][runs[1].key]
        assert found[2] == expected[2]


def test_workers_that_disagree_about_a_failure_end_together(bases: dict[str, Base]) -> None:
    """Parameters that are broken on one worker alone: what others go on with would never match its own."""
    runs = [make_run("lora", "target", seed=seed) for seed in (0, 1)]

    def work(group: WorkerGroup) -> str:
        pack = shared_pack(bases, runs, None, group)
        if group.rank == 1:
            pack.failed[runs[0].key] = "its loss is nan here"
        with pytest.raises(RuntimeError) as error:
            pack.sync_metrics()
        return str(error.value)

    first, second = on_group(2, work)
    assert first == second
    assert f"disagree about which runs have failed, [[], ['{runs[0].key}']]" in first


def test_a_worker_out_of_memory_tells_the_others_and_nobody_takes_the_step(bases: dict[str, Base]) -> None:
    runs = [make_run("source", "small", "target")]

    def work(group: WorkerGroup) -> tuple[str, int, int]:
        pack = shared_pack(bases, runs, None, group)
        for learner, epoch in pack.due():
            pack.evaluate(learner, epoch)
        end = refuse_forwards(bases["target"], above=0, in_backward=False)
        with pytest.raises((torch.OutOfMemoryError, OutOfMemoryElsewhere)) as error:
            pack.step()
        end()
        steps = pack.learners[0].step
        pack.step()
        return error.type.__name__, steps, pack.learners[0].step

    assert on_group(2, work) == [("OutOfMemoryElsewhere", 0, 1), ("OutOfMemoryError", 0, 1)]


@pytest.mark.slow
def test_workers_that_score_out_of_memory_tell_the_others_too(bases: dict[str, Base]) -> None:
    runs = [make_run("source", "small", "target", train=TrainConfig(epochs=1))]

    def work(group: WorkerGroup) -> str:
        pack = shared_pack(bases, runs, None, group)
        refuse_forwards(bases["target"], above=0, in_backward=False)
        with pytest.raises((torch.OutOfMemoryError, OutOfMemoryElsewhere)) as error:
            pack.evaluate(*pack.due()[0])
        return error.type.__name__

    assert on_group(2, work) == ["OutOfMemoryElsewhere", "OutOfMemoryError"]


@given(size=st.integers(2, 7), count=st.integers(1, 5), rows=st.integers(1, 6))
def test_every_row_has_one_worker_and_every_base_at_least_one(size: int, count: int, rows: int) -> None:
    slots = [SlotRows(0, slot, tuple(range(rows + slot)), 0.0) for slot in range(3)]  # type: ignore[arg-type]
    members = [Sharding(rank, size) for rank in range(size)]

    for place in range(count):
        shares = [member.share(slots, place, count) for member in members]

        assert any(member.holds(place, count) for member in members)
        for slot in slots:
            dealt = [row for share in shares for part in share if part.slot == slot.slot for row in part.rows]
            assert sorted(dealt) == list(slot.rows)
        assert all(sum(member.scores(part, place, count) for member in members) == 1 for part in range(6))
        for member, share in zip(members, shares, strict=True):
            assert member.holds(place, count) or not share
