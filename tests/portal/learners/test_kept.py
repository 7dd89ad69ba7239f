"""The best evaluation is kept, chosen on validation rows alone; a loss curve has few points."""

import json
from itertools import pairwise
from math import fsum
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portal.config import RunConfig
from portal.learners.kept import COSTS, MOST_POINTS, KeptEpochs, LossCurve
from portal.train_config import TrainConfig
from tests.support.bases import TASKS, make_run
from tests.support.packs import Tiny

Row = dict[str, Any]
BEST = TrainConfig(epochs=6, lr=3e-2, keep="best_validation")
ONE_EVALUATION = BEST.model_copy(update={"epochs": 1})
RARE_EVALUATIONS = BEST.model_copy(update={"evaluate_every": 5, "min_steps": 14})
CALIBRATED = {"calibrated": TASKS[:1]}
RUNS = {
    "lora": make_run("lora", "target", train=BEST),
    "hypernet": make_run("hypernet", "target", train=BEST),
    "portal": make_run("portal", "target", train=BEST),
    "calibrated": make_run("portal", "target", train=BEST, data=CALIBRATED),
    "one evaluation": make_run("portal", "target", train=ONE_EVALUATION, data=CALIBRATED),
    "rare evaluations": make_run("lora", "target", train=RARE_EVALUATIONS),
}


def row(task: str, score: float, log_loss: float, *, split: str = "validation") -> Row:
    scores = {"score": score, "log_loss": log_loss}
    return {"task": task, "split": split, "base": "b", **scores, **dict.fromkeys(COSTS, 0.0)}


def test_tasks_that_train_together_are_judged_by_their_mean_and_others_one_by_one() -> None:
    joint, apart = (KeptEpochs(["a", "b"], per_task=per_task) for per_task in (False, True))
    rounds = [(0.9, 0.1), (0.6, 0.6), (1.0, 0.1)]

    found = [
        [kept.better_tasks(epoch, [row("a", a, 1.0), row("b", b, 1.0)]) for kept in (joint, apart)]
        for epoch, (a, b) in enumerate(rounds, start=1)
    ]

    assert found == [[("a", "b"), ("a", "b")], [("a", "b"), ("b",)], [(), ("a",)]]
    assert joint.epochs == {"a": 2, "b": 2}
    assert apart.epochs == {"a": 3, "b": 2}


def test_equal_accuracy_is_decided_by_log_loss_then_by_the_earlier_epoch_and_only_trained_tasks_vote() -> (
    None
):
    kept, voting = (KeptEpochs(["a"], per_task=False) for _ in range(2))

    found = [
        kept.better_tasks(epoch, [row("a", 0.5, loss)]) for epoch, loss in ((1, 2.0), (2, 1.0), (3, 1.0))
    ]

    assert found == [("a",), ("a",), ()]
    assert voting.better_tasks(0, [row("a", 1.0, 0.1)]) == ()
    assert voting.better_tasks(1, [row("a", 1.0, 0.1, split="test")]) == ()
    assert voting.better_tasks(2, [row("a", 0.5, 1.0), row("other", 0.0, 9.0)]) == ("a",)
    assert voting.better_tasks(3, [row("a", 0.4, 1.0), row("other", 1.0, 0.0)]) == ()


@pytest.mark.parametrize("name", RUNS)
def test_the_parameters_and_rows_of_the_best_evaluation_are_left_though_only_its_test_rows_are_scored(
    tiny: Tiny, name: str
) -> None:
    """By a run that scores all test rows, and by one that scores those of what it keeps and of its end."""
    run = RUNS[name]
    assert run.train is not None
    pack = tiny.pack(run)
    (whole,) = pack.learners
    all_rows: list[Row] = []
    seen: dict[int, dict[str, torch.Tensor]] = {}
    while pack.active:
        for _, epoch in pack.due():
            all_rows += pack.evaluate(whole, epoch).results
            seen[epoch] = {key: t.clone() for key, t in whole.artifact_tensors(TASKS).items()}
        if whole.step < whole.num_steps:
            pack.step()
    train = run.train.model_copy(update={"test_scores": "kept"})
    sparing = tiny.ended(run.model_copy(update={"train": train}))

    kept = whole.restore_kept()

    assert kept == sparing.learner.restore_kept() == expected_epochs(run, all_rows)
    assert run.train is not BEST or {*kept.values()} != {6}, "nothing was chosen: the last epoch is best"
    for task, epoch in kept.items():
        for key, tensor in whole.artifact_tensors([task]).items():
            assert torch.equal(tensor, seen[epoch][key])
            assert torch.equal(tensor, sparing.learner.artifact_tensors([task])[key])
    expected = {
        place(each): each
        for each in all_rows
        if each["split"] == "validation"
        or each["epoch"] in (kept[each["task"]], whole.schedule.num_epochs(each["task"]))
    }
    found = {place(each): each for each in sparing.rows}
    assert len(sparing.rows) == len(found) == len(expected) < len(all_rows)
    assert [without_time(found[key]) for key in expected] == [*map(without_time, expected.values())]
    for (base, task, epoch, _), each in found.items():
        assert each["wall_s"] == found[base, task, epoch, "validation"]["wall_s"]


def place(row: Row) -> tuple[str, str, int, str]:
    return row["base"], row["task"], row["epoch"], row["split"]


def without_time(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in ("run", "wall_s")}


def expected_epochs(run: RunConfig, rows: list[Row]) -> dict[str, int]:
    """The choice, made here from the rows of all evaluations."""
    chosen = {}
    for group in [(task,) for task in TASKS] if run.method == "lora" else [TASKS]:
        voting = set(group) & set(run.data.trained_tasks)
        by_epoch: dict[int, list[Row]] = {}
        for row in rows:
            if row["task"] in voting and row["split"] == "validation" and row["epoch"] > 0:
                by_epoch.setdefault(row["epoch"], []).append(row)
        ranks = {
            epoch: (-mean([row["acc_norm"] for row in own]), mean([row["log_loss"] for row in own]), epoch)
            for epoch, own in by_epoch.items()
        }
        chosen |= dict.fromkeys(group, min(ranks, key=ranks.__getitem__))
    return chosen


def mean(values: list[float]) -> float:
    return fsum(values) / len(values)


def test_a_run_that_keeps_its_last_step_has_the_same_state_as_before(tiny: Tiny) -> None:
    tensors, meta = tiny.learner(make_run("portal", "target")).state()

    assert not [key for key in tensors if key.startswith("kept")]
    assert sorted(meta) == ["losses", "scored", "step", "train_flops", "train_tokens", "wall_s"]


def curve_of(losses: list[float]) -> LossCurve:
    curve = LossCurve()
    for loss in losses:
        curve.add(loss)
    return curve


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6 * MOST_POINTS))
@example(MOST_POINTS - 1)  # one less than the most: every step is a point
@example(2 * MOST_POINTS - 1)  # and with a stretch that has not ended
def test_points_are_means_of_stretches_that_cover_every_step(num_steps: int) -> None:
    losses = [float(step) for step in range(num_steps)]
    points = curve_of(losses).points
    assert num_steps >= MOST_POINTS or points == [(step + 1, loss) for step, loss in enumerate(losses)]

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
