"""A pack stepped by several processes: the same numbers as by one, whichever process has which rows."""

import copy
import multiprocessing
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributed

from portal.config import RunConfig
from portal.forward.microbatch import SlotRows
from portal.learners.hypernet import HypernetLearner
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from portal.training.train_step import Forwards
from portal.training.worker_group import OutOfMemoryElsewhere, Sharding, WorkerGroup
from tests.support.bases import make_run
from tests.support.groups import on_group, shared_pack
from tests.support.packs import FinishedPack, Tiny, advance, mixed_runs, refused_forwards, run_to_end

End = tuple[dict[str, list[dict[str, object]]], dict[str, dict[str, Tensor]], dict[str, str]]
NO_ROOM = (torch.OutOfMemoryError, OutOfMemoryElsewhere)


def joint(epochs: int = 1, lr: float = 3e-3, seed: int = 0) -> RunConfig:
    """Joint training on two bases."""
    return make_run("source", "small", "target", seed=seed, train=TrainConfig(epochs=epochs, lr=lr))


def end_of(pack: Pack, each_step: Callable[[], None] = lambda: None) -> End:
    """Result rows without times, the state of every learner, and which failed, at the pack's end."""
    results = run_to_end(pack, each_step)
    rows = {key: [{**row, "wall_s": 0.0} for row in own] for key, own in results.items()}
    return rows, {learner.key: learner.tensors() for learner in pack.learners}, pack.failed


def assert_same(found: End, expected: End) -> None:
    assert (found[0], found[2]) == (expected[0], expected[2])
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=0, equal_nan=True)


def test_joint_training_with_a_worker_for_each_base_is_that_of_one_worker_to_the_last_bit(tiny: Tiny) -> None:
    torch.set_num_threads(1)
    runs = [joint(epochs=2), joint(lr=1e-2, seed=1)]
    expected = end_of(tiny.pack(*runs))

    for found in on_group(2, lambda group: end_of(shared_pack(tiny, runs, group))):
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


def test_workers_of_two_bases_run_their_forwards_at_the_same_time(tiny: Tiny) -> None:
    """Each waits inside its forwards until the other is in its own."""
    meeting, run = multiprocessing.get_context("fork").Barrier(2), Forwards.run

    def work(group: WorkerGroup) -> list[str]:
        pack, met = shared_pack(tiny, [joint()], group), list[str]()

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
@pytest.mark.parametrize("size", [2, 3])
def test_rows_divided_among_workers_give_the_same_step_up_to_rounding(
    tiny: Tiny, mixed_end: FinishedPack, size: int
) -> None:
    scores = [row for results in mixed_end.results.values() for row in results]
    alone = tiny.pack(*mixed_runs())
    advance(alone)

    def work(group: WorkerGroup) -> tuple[End, list[dict[str, Tensor]]]:
        pack, first = shared_pack(tiny, mixed_runs(), group), list[dict[str, Tensor]]()

        def keep() -> None:
            if not first:
                first.extend(copy.deepcopy(learner.tensors()) for learner in pack.learners)

        return end_of(pack, keep), first

    answers = on_group(size, work)
    for found, first in answers:
        assert_same(found, answers[0][0])
        for learner, tensors in zip(alone.learners, first, strict=True):
            for name, value in learner.tensors().items():
                if name.endswith("exp_avg"):  # a tenth of the step's gradient
                    assert (tensors[name] - value).norm() <= 1e-6 * value.norm(), (learner.run.method, name)
        rows = [row for results in found[0].values() for row in results]
        for ours, theirs in zip(rows, scores, strict=True):
            assert ours["log_loss"] == pytest.approx(theirs["log_loss"], rel=2e-3)
            assert (ours["task"], ours["train_tokens"]) == (theirs["task"], theirs["train_tokens"])


def test_joint_training_by_three_workers_on_two_bases_is_that_of_one_worker_up_to_rounding(
    tiny: Tiny,
) -> None:
    expected = tiny.ended(joint()).learner

    for _, states, failed in on_group(3, lambda group: end_of(shared_pack(tiny, [joint()], group))):
        assert not failed
        torch.testing.assert_close(
            states[expected.key], expected.tensors(), rtol=1e-3, atol=1e-5, equal_nan=True
        )


def test_a_run_that_diverges_leaves_every_worker_at_the_same_step(tiny: Tiny) -> None:
    runs = [joint(epochs=2, lr=1e-2, seed=seed) for seed in (0, 1)]

    def run(pack: Pack) -> End:
        bad = pack.learners[0]
        assert isinstance(bad, HypernetLearner)

        def poison() -> None:
            if bad.step == 2:
                bad.converters["target"].input["q"].data.fill_(torch.nan)

        return end_of(pack, poison)

    expected = run(tiny.pack(*runs))
    assert list(expected[2]) == [runs[0].key]
    for found in on_group(2, lambda group: run(shared_pack(tiny, runs, group))):
        assert found[0][runs[1].key] == expected[0][runs[1].key]
        assert found[2] == expected[2]


def test_workers_that_disagree_about_a_failure_end_together(tiny: Tiny) -> None:
    """Parameters that are broken on one worker alone: what others go on with would never match its own."""
    runs = [make_run("lora", "target", seed=seed) for seed in (0, 1)]

    def work(group: WorkerGroup) -> str:
        pack = shared_pack(tiny, runs, group)
        if group.rank == 1:
            pack.failed[runs[0].key] = "its loss is nan here"
        with pytest.raises(RuntimeError) as error:
            pack.sync_metrics()
        return str(error.value)

    first, second = on_group(2, work)
    assert first == second
    assert f"disagree about which runs have failed, [[], ['{runs[0].key}']]" in first


@pytest.mark.slow
def test_a_worker_out_of_memory_tells_the_others_and_nobody_scores_or_takes_the_step(tiny: Tiny) -> None:
    def work(group: WorkerGroup) -> tuple[str, str, int, int]:
        pack = shared_pack(tiny, [joint()], group)
        with refused_forwards(tiny.bases["target"], above=0), pytest.raises(NO_ROOM) as scoring:
            pack.evaluate(*pack.due()[0])
        for learner, epoch in pack.due():
            pack.evaluate(learner, epoch)
        with refused_forwards(tiny.bases["target"], above=0), pytest.raises(NO_ROOM) as stepping:
            pack.step()
        steps = pack.learners[0].step
        pack.step()
        return scoring.type.__name__, stepping.type.__name__, steps, pack.learners[0].step

    elsewhere, here = "OutOfMemoryElsewhere", "OutOfMemoryError"
    assert on_group(2, work) == [(elsewhere, elsewhere, 0, 1), (here, here, 0, 1)]


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
