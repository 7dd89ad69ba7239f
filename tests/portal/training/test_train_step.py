"""A step hands tensors to its team, and goes on in smaller forwards where memory is short: none is lost."""

from collections.abc import Callable

import pytest
import torch

from portal.config import AdapterConfig
from portal.forward.microbatch import bucket_length
from portal.modules import ALL_MODULES
from portal.training import train_step
from portal.training.pack import Pack
from portal.training.train_step import LearnerStep
from portal.training.worker_group import WorkerGroup
from tests.support.bases import make_run
from tests.support.packs import (
    FinishedPack,
    Tiny,
    advance,
    assert_same_tensors,
    mixed_runs,
    refused_forwards,
    run_to_end,
)


def test_a_team_sums_a_tensor_per_module_and_factor_and_one_of_losses(tiny: Tiny) -> None:
    alone, team = WorkerGroup(), WorkerGroup()
    team.size = 2
    for modules, count in ((("q", "v"), 5), (ALL_MODULES, 15)):
        adapter = AdapterConfig(modules=modules, rank=2, alpha=4)
        step = LearnerStep(tiny.learner(make_run("lora", "target", adapter=adapter)), "target", 0)
        assert step.parts_to_sum(alone) == []
        assert len(step.parts_to_sum(team)) == count


def assert_same_learners(ours: Pack, theirs: Pack) -> None:
    for mine, other in zip(ours.learners, theirs.learners, strict=True):
        assert_same_tensors(mine, other)


@pytest.mark.parametrize("in_backward", [False, True])
def test_out_of_memory_halves_the_forward_and_loses_no_step(
    tiny: Tiny, mixed_end: FinishedPack, in_backward: bool
) -> None:
    pack = tiny.pack(*mixed_runs())
    largest = max(s.length * len(s.rows) for s in pack.learners[0].slot_rows("target", 0))
    with refused_forwards(tiny.bases["target"], above=3 * largest, in_backward=in_backward):
        results = run_to_end(pack)

    assert not pack.failed
    assert pack.max_tokens["target"] < 6 * largest
    for key, rows in mixed_end.results.items():
        for ours, theirs in zip(results[key], rows, strict=True):
            assert ours["log_loss"] == pytest.approx(theirs["log_loss"], rel=1e-4)
            for name in ("acc_norm", "train_tokens"):
                assert ours[name] == theirs[name]


@pytest.mark.parametrize("in_backward", [False, True])
def test_a_forward_that_fits_the_second_time_stays_as_large_as_it_was(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, in_backward: bool
) -> None:
    """What is released between the two tries is all that was missing."""
    run = make_run("portal", "target")
    expected, pack = tiny.ended(run).pack, tiny.pack(run)
    for learner, epoch in pack.due():
        pack.evaluate(learner, epoch)
    ends: list[Callable[[], None]] = []
    monkeypatch.setattr(train_step, "release_memory", lambda: ends.pop()())

    with refused_forwards(tiny.bases["target"], above=0, in_backward=in_backward) as end:
        ends.append(end)
        run_to_end(pack)

    assert not ends
    assert pack.max_tokens == expected.max_tokens
    assert_same_learners(pack, expected)


def test_running_out_of_memory_changes_no_bit_where_every_slot_fits(tiny: Tiny) -> None:
    runs = [make_run("portal", "target", seed=seed) for seed in range(3)]
    expected, pack = tiny.ended(*runs).pack, tiny.pack(*runs)
    slots = [slot for learner in pack.learners for slot in learner.slot_rows("target", 0)]
    limit = 2 * max(bucket_length(slot.length) * len(slot.rows) for slot in slots)

    with refused_forwards(tiny.bases["target"], above=limit, in_backward=True):
        run_to_end(pack)

    assert pack.max_tokens["target"] <= limit
    assert_same_learners(pack, expected)


def test_a_slot_that_does_not_fit_alone_leaves_its_step_to_be_taken_again(tiny: Tiny) -> None:
    runs = [
        make_run("portal", "target"),
        make_run("lora", "target", data={"size": None}),  # tasks of unequal length: several optimisers
        make_run("shared_lora", "target"),
        make_run("source", "small", "target"),
    ]
    expected, pack = tiny.pack(*runs), tiny.pack(*runs)
    advance(expected)
    for learner, epoch in pack.due():
        pack.evaluate(learner, epoch)
    short = refused_forwards(tiny.bases["target"], above=0, in_backward=True)
    with short, pytest.raises(torch.OutOfMemoryError):
        pack.step()
    pack.max_tokens["target"] = expected.max_tokens["target"]
    pack.step()

    for ours, theirs in zip(pack.learners, expected.learners, strict=True):
        assert (ours.step, ours.train_tokens) == (1, theirs.train_tokens)
    assert_same_learners(pack, expected)


def test_scoring_that_runs_out_of_memory_goes_on_in_smaller_batches(tiny: Tiny) -> None:
    pack, expected = (tiny.pack(make_run("portal", "target")) for _ in range(2))
    with refused_forwards(tiny.bases["target"], above=200):
        ours = pack.evaluate(pack.learners[0], 0).results

    theirs = expected.evaluate(expected.learners[0], 0).results
    losses = [[row["log_loss"] for row in rows] for rows in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
