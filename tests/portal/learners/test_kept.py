"""The best evaluation is kept, chosen on validation rows alone; a loss curve has few points."""

import json
from collections.abc import Callable
from itertools import pairwise
from math import fsum
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portal.bases.base import Base
from portal.config import RunConfig
from portal.learners.base import Learner
from portal.learners.kept import COSTS, MOST_POINTS, KeptEpochs, LossCurve
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import TASKS, make_run
from tests.support.packs import make_pack

BEST = TrainConfig(epochs=6, lr=3e-2, keep="best_validation")


def row(
    task: str, score: float, log_loss: float, *, split: str = "validation", base: str = "b"
) -> dict[str, Any]:
    scores = {"score": score, "log_loss": log_loss}
    return {"task": task, "split": split, "base": base, **scores, **dict.fromkeys(COSTS, 0.0)}


def test_tasks_that_train_together_are_judged_by_their_mean() -> None:
    kept = KeptEpochs(["a", "b"], per_task=False)

    assert kept.better_tasks(1, [row("a", 0.9, 1.0), row("b", 0.1, 1.0)]) == ("a", "b")
    assert kept.better_tasks(2, [row("a", 0.6, 1.0), row("b", 0.6, 1.0)]) == ("a", "b")
    assert kept.better_tasks(3, [row("a", 1.0, 1.0), row("b", 0.1, 1.0)]) == ()
    assert kept.epochs == {"a": 2, "b": 2}


def test_tasks_with_adapters_of_their_own_are_judged_one_by_one() -> None:
    kept = KeptEpochs(["a", "b"], per_task=True)

    kept.better_tasks(1, [row("a", 0.9, 1.0), row("b", 0.1, 1.0)])
    assert kept.better_tasks(2, [row("a", 0.6, 1.0), row("b", 0.6, 1.0)]) == ("b",)
    assert kept.epochs == {"a": 1, "b": 2}


def test_equal_accuracy_is_decided_by_log_loss_then_by_the_earlier_epoch() -> None:
    kept = KeptEpochs(["a"], per_task=False)

    kept.better_tasks(1, [row("a", 0.5, 2.0)])
    assert kept.better_tasks(2, [row("a", 0.5, 1.0)]) == ("a",)
    assert kept.better_tasks(3, [row("a", 0.5, 1.0)]) == ()


def test_test_rows_epoch_0_and_tasks_that_are_not_trained_on_have_no_vote() -> None:
    kept = KeptEpochs(["a"], per_task=False)

    assert kept.better_tasks(0, [row("a", 1.0, 0.1)]) == ()
    assert kept.better_tasks(1, [row("a", 1.0, 0.1, split="test")]) == ()
    assert kept.better_tasks(2, [row("a", 0.5, 1.0), row("other", 0.0, 9.0)]) == ("a",)
    assert kept.better_tasks(3, [row("a", 0.4, 1.0), row("other", 1.0, 0.0)]) == ()


def run_and_judge(pack: Pack) -> tuple[Learner, dict[int, dict[str, torch.Tensor]], list[dict[str, Any]]]:
    """The one learner at its end, the factors' values after every evaluation, and all result rows."""
    (learner,) = pack.learners
    seen: dict[int, dict[str, torch.Tensor]] = {}
    rows: list[dict[str, Any]] = []
    while pack.active:
        for _, epoch in pack.due():
            found = pack.evaluate(learner, epoch).results
            rows += found
            seen[epoch] = {name: t.clone() for name, t in learner.artifact_tensors(TASKS).items()}
        if learner.step < learner.num_steps:
            pack.step()
    return learner, seen, rows


CALIBRATED = {"calibrated": TASKS[:1]}
RUNS = {
    "lora": make_run("lora", "target", train=BEST),
    "hypernet": make_run("hypernet", "target", train=BEST),
    "portal": make_run("portal", "target", train=BEST),
}
SPARING = RUNS | {
    "calibrated": make_run("portal", "target", train=BEST, data=CALIBRATED),
    "one evaluation": make_run(
        "portal", "target", train=BEST.model_copy(update={"epochs": 1}), data=CALIBRATED
    ),
    "rare evaluations": make_run(
        "lora", "target", train=BEST.model_copy(update={"evaluate_every": 5, "min_steps": 14})
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_with_the_parameters_of_its_best_evaluation(
    bases: dict[str, Base], source: Path, name: str
) -> None:
    learner, seen, rows = run_and_judge(make_pack(bases, [RUNS[name]], source))

    kept = learner.restore_kept()

    assert kept == expected_epochs(RUNS[name], rows)
    assert len({*kept.values()} - {6}) > 0, "nothing was chosen: the last epoch is best for every task"
    for task, epoch in kept.items():
        for key, tensor in learner.artifact_tensors([task]).items():
            assert torch.equal(tensor, seen[epoch][key])


@pytest.mark.parametrize("name", RUNS)
def test_what_is_kept_is_saved_and_restored(bases: dict[str, Base], source: Path, name: str) -> None:
    run = RUNS[name]
    pack = make_pack(bases, [run], source)
    (first,) = pack.learners
    while pack.active and first.step < first.num_steps // 2:
        for _, epoch in pack.due():
            pack.evaluate(first, epoch)
        pack.step()
    tensors, meta = first.state()
    again = make_pack(bases, [run], source)
    again.learners[0].restore({key: t.clone() for key, t in tensors.items()}, meta)

    ended, _, _ = run_and_judge(pack)
    resumed, _, _ = run_and_judge(again)

    assert resumed.restore_kept() == ended.restore_kept()
    for key, tensor in ended.artifact_tensors(TASKS).items():
        assert torch.equal(tensor, resumed.artifact_tensors(TASKS)[key])


@pytest.mark.parametrize("name", SPARING)
@pytest.mark.parametrize("is_broken_off", [False, True])
def test_test_rows_of_the_kept_and_the_last_evaluation_are_those_of_a_run_that_scores_all(
    bases: dict[str, Base], source: Path, name: str, *, is_broken_off: bool
) -> None:
    """Also where the run is broken off after every evaluation, those of the kept parameters among them."""
    run = SPARING[name]
    assert run.train is not None
    sparing = run.model_copy(update={"train": run.train.model_copy(update={"test_scores": "kept"})})
    whole, _, all_rows = run_and_judge(make_pack(bases, [run], source))
    learner, rows = run_to_end(lambda: make_pack(bases, [sparing], source), is_broken_off=is_broken_off)

    kept = learner.restore_kept()

    assert kept == whole.restore_kept()
    expected = {
        place(each): each
        for each in all_rows
        if each["split"] == "validation"
        or each["epoch"] in (kept[each["task"]], whole.schedule.num_epochs(each["task"]))
    }
    found = {place(each): each for each in rows}
    assert len(rows) == len(found) == len(expected) < len(all_rows)
    assert [without_time(found[key]) for key in expected] == [*map(without_time, expected.values())]
    for (base, task, epoch, _), each in found.items():
        assert each["wall_s"] == found[base, task, epoch, "validation"]["wall_s"]
    for key, tensor in whole.artifact_tensors(TASKS).items():
        assert torch.equal(tensor, learner.artifact_tensors(TASKS)[key])


def run_to_end(make: Callable[[], Pack], *, is_broken_off: bool) -> tuple[Learner, list[dict[str, Any]]]:
    """The one learner of a pack at its end, and all result rows; or of packs that end after an evaluation."""
    pack, rows = make(), list[dict[str, Any]]()
    while pack.active:
        while due := pack.due():
            ((learner, epoch), *_) = due
            rows += pack.evaluate(learner, epoch).results
            if is_broken_off:
                tensors, meta = learner.state()
                pack = make()
                copies = {key: tensor.clone() for key, tensor in tensors.items()}
                pack.learners[0].restore(copies, json.loads(json.dumps(meta)))
        (learner,) = pack.learners
        if learner.step < learner.num_steps:
            pack.step()
    return learner, rows


def place(row: dict[str, Any]) -> tuple[str, str, int, str]:
    return row["base"], row["task"], row["epoch"], row["split"]


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("run", "wall_s")}


def test_a_run_that_keeps_its_last_step_has_the_same_state_as_before(
    bases: dict[str, Base], source: Path
) -> None:
    (learner,) = make_pack(bases, [make_run("portal", "target")], source).learners

    tensors, meta = learner.state()

    assert not [key for key in tensors if key.startswith("kept")]
    assert sorted(meta) == ["losses", "scored", "step", "train_flops", "train_tokens", "wall_s"]


def expected_epochs(run: RunConfig, rows: list[dict[str, Any]]) -> dict[str, int]:
    """The choice, made here from the rows of all evaluations."""
    chosen = {}
    for group in [(task,) for task in TASKS] if run.method == "lora" else [TASKS]:
        by_epoch: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            if row["task"] in group and row["split"] == "validation" and row["epoch"] > 0:
                by_epoch.setdefault(row["epoch"], []).append(row)
        ranks = {
            epoch: (-mean([row["acc_norm"] for row in own]), mean([row["log_loss"] for row in own]), epoch)
            for epoch, own in by_epoch.items()
        }
        chosen |= dict.fromkeys(group, min(ranks, key=ranks.__getitem__))
    return chosen


def mean(values: list[float]) -> float:
    return fsum(values) / len(values)


def curve_of(losses: list[float], start: int = 0) -> LossCurve:
    curve = LossCurve(start)
    for loss in losses:
        curve.add(loss)
    return curve


def test_up_to_the_most_points_every_step_is_one() -> None:
    losses = [float(step) for step in range(MOST_POINTS - 1)]

    assert curve_of(losses).points == [(step + 1, loss) for step, loss in enumerate(losses)]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6 * MOST_POINTS))
@example(2 * MOST_POINTS - 1)  # one less than the most, and a stretch that has not ended
def test_points_are_means_of_stretches_that_cover_every_step(num_steps: int) -> None:
    points = curve_of([float(step) for step in range(num_steps)]).points

    assert len(points) <= MOST_POINTS
    assert points[-1][0] == num_steps
    ends = [0, *(end for end, _ in points)]
    assert len({after - before for before, after in pairwise(ends[:-1])}) <= 1
    for (start, end), (_, mean) in zip(pairwise(ends), points, strict=True):
        assert mean == pytest.approx((start + end - 1) / 2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3 * MOST_POINTS), st.integers(0, 3 * MOST_POINTS))
def test_a_saved_curve_goes_on_as_if_nothing_had_been(before: int, after: int) -> None:
    losses = [1 / (step + 3) for step in range(before + after)]
    saved = json.loads(json.dumps(curve_of(losses[:before]).state()))

    again = LossCurve.restored(saved)
    for loss in losses[before:]:
        again.add(loss)

    assert again.points == curve_of(losses).points
