"""A step hands tensors to its team, and goes on in smaller forwards where memory is short: none is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from portal.bases.base import Base
from portal.config import AdapterConfig
from portal.forward.microbatch import bucket_length
from portal.modules import ALL_MODULES
from portal.training import train_step
from portal.training.train_step import LearnerStep
from portal.training.worker_group import WorkerGroup
from tests.support.bases import make_run
from tests.support.packs import FinishedPack, make_pack, mixed_runs, refuse_forwards, run_to_end


@pytest.mark.parametrize(("modules", "count"), [(("q", "v"), 5), (ALL_MODULES, 15)])
def test_a_team_sums_a_tensor_per_module_and_factor_and_one_of_losses(
    bases: dict[str, Base], modules: tuple[str, ...], count: int
) -> None:
    adapter = AdapterConfig(modules=modules, rank=2, alpha=4)
    (learner,) = make_pack(bases, [make_run("lora", "target", adapter=adapter)], None).learners
    alone, team = WorkerGroup(), WorkerGroup()
    team.size = 2
    step = LearnerStep(learner, "target", 0)

    assert step.parts_to_sum(alone) == []
    assert len(step.parts_to_sum(team)) == count


@pytest.mark.parametrize("in_backward", [False, True])
def test_out_of_memory_halves_the_forward_and_loses_no_step(
    bases: dict[str, Base], source: Path, mixed_end: FinishedPack, in_backward: bool
) -> None:
    pack = make_pack(bases, mixed_runs(), source)
    largest = max(
        slot.length * len(slot.rows)
        for learner in pack.learners[:1]
        for slot in learner.slot_rows("target", 0)
    )
    end = refuse_forwards(bases["target"], above=3 * largest, in_backward=in_backward)
    try:
        results = run_to_end(pack)
    finally:
        end()

    assert not pack.failed
    assert pack.max_tokens["target"] < 6 * largest
    for key, rows in mixed_end.results.items():
        assert len(results[key]) == len(rows)
        for ours, theirs in zip(results[key], rows, strict=True):
            assert ours["log_loss"] == pytest.approx(theirs["log_loss"], rel=1e-4)
            assert ours["acc_norm"] == theirs["acc_norm"]
            assert ours["train_tokens"] == theirs["train_tokens"]


@pytest.mark.parametrize("in_backward", [False, True])
def test_a_forward_that_fits_the_second_time_stays_as_large_as_it_was(
    bases: dict[str, Base], source: Path, monkeypatch: pytest.MonkeyPatch, in_backward: bool
) -> None:
    """What is released between the two tries is all that was missing."""
    expected, pack = (make_pack(bases, [make_run("portal", "target")], source) for _ in range(2))
    run_to_end(expected)
    ends: list[Callable[[], None]] = []
    monkeypatch.setattr(train_step, "release_memory", lambda: ends.pop()())
    for learner, epoch in pack.due():
        pack.evaluate(learner, epoch)
    ends.append(refuse_forwards(bases["target"], above=0, in_backward=in_backward))

    run_to_end(pack)

    assert not ends
    assert pack.max_tokens == expected.max_tokens
    for name, tensor in expected.learners[0].tensors().items():
        assert torch.equal(pack.learners[0].tensors()[name], tensor), name


def test_running_out_of_memory_changes_no_bit_where_every_slot_fits(
    bases: dict[str, Base], source: Path
) -> None:
    runs = [make_run("portal", "target", seed=seed) for seed in range(3)]
    expected, pack = make_pack(bases, runs, source), make_pack(bases, runs, source)
    run_to_end(expected)
    largest = max(
        bucket_length(slot.length) * len(slot.rows)
        for learner in pack.learners
        for slot in learner.slot_rows("target", 0)
    )
    end = refuse_forwards(bases["target"], above=2 * largest, in_backward=True)
    try:
        run_to_end(pack)
    finally:
        end()

    assert pack.max_tokens["target"] <= 2 * largest
    for ours, theirs in zip(pack.learners, expected.learners, strict=True):
        assert all(torch.equal(tensor, theirs.tensors()[name]) for name, tensor in ours.tensors().items())


def test_a_slot_that_does_not_fit_alone_leaves_its_step_to_be_taken_again(
    bases: dict[str, Base], source: Path
) -> None:
    runs = [
        make_run("portal", "target"),
        make_run("lora", "target", data={"size": None}),  # tasks of unequal length: several optimisers
        make_run("shared_lora", "target"),
        make_run("source", "small", "target"),
    ]
    expected, pack = make_pack(bases, runs, source), make_pack(bases, runs, source)
    for learner, epoch in pack.due():
        pack.evaluate(learner, epoch)
    for learner, epoch in expected.due():
        expected.evaluate(learner, epoch)
    expected.step()
    end = refuse_forwards(bases["target"], above=0, in_backward=True)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            pack.step()
    finally:
        end()
    pack.max_tokens["target"] = expected.max_tokens["target"]
    pack.step()

    for ours, theirs in zip(pack.learners, expected.learners, strict=True):
        assert (ours.step, ours.train_tokens) == (1, theirs.train_tokens)
        assert all(torch.equal(tensor, theirs.tensors()[name]) for name, tensor in ours.tensors().items())


def test_scoring_that_runs_out_of_memory_goes_on_in_smaller_batches(
    bases: dict[str, Base], source: Path
) -> None:
    run = make_run("portal", "target")
    expected = make_pack(bases, [run], source)
    pack = make_pack(bases, [run], source)
    end = refuse_forwards(bases["target"], above=200, in_backward=False)
    try:
        ours = pack.evaluate(pack.learners[0], 0).results
    finally:
        end()

    for row, other in zip(ours, expected.evaluate(expected.learners[0], 0).results, strict=True):
        assert row["log_loss"] == pytest.approx(other["log_loss"], rel=1e-5)
