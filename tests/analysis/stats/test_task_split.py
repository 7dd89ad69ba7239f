"""Tasks without a row stand beside calibrated ones, each against the frozen base on the same tasks."""

import pytest

from analysis.stats.epoch_selection import select_epochs
from analysis.stats.result_table import gather_runs
from analysis.stats.task_split import TaskSplit, controls_of, leading_split, split_tasks
from tests.support.result_tables import row, to_table

BASE = {"a": 0.2, "b": 0.4, "c": 0.3}


def run_rows(
    key: str, seed: int, scores: dict[str, float], without: str, *, epoch: int = 2, split: str = "test"
) -> list[dict]:
    return [
        row(run=key, method="portal", seed=seed, size=4, task=task, acc_norm=acc, epoch=epoch, split=split,
            calibrated=task not in without)
        for task, acc in scores.items()
    ]  # fmt: skip


def base_rows(scores: dict[str, float] = BASE) -> list[dict]:
    return [row(run="base", task=task, acc_norm=acc) for task, acc in scores.items()]


def only(rows: list[dict]) -> TaskSplit:
    (split,) = split_tasks(gather_runs(to_table(rows)), "big")
    return split


def test_each_group_is_compared_with_the_base_on_its_own_tasks_of_each_seed() -> None:
    split = only(
        [
            *base_rows(),
            *run_rows("p0", 0, {"a": 0.8, "b": 0.6, "c": 0.5}, without="bc"),
            *run_rows("p1", 1, {"a": 0.6, "b": 0.9, "c": 0.7}, without="a"),
        ]
    )

    assert split.calibrated.acc.values == pytest.approx((0.8, 0.8))
    assert split.calibrated.base_acc.values == pytest.approx((0.2, 0.35))
    assert split.without_rows.acc.values == pytest.approx((0.55, 0.6))
    assert split.without_rows.base_acc.values == pytest.approx((0.35, 0.2))
    assert split.without_rows.num_tasks.values == (2, 1)
    assert split.share.value == pytest.approx((0.575 - 0.275) / (0.8 - 0.275))


def test_runs_on_all_their_tasks_are_not_split() -> None:
    rows = [*base_rows(), *run_rows("p0", 0, BASE, without="")]

    assert split_tasks(gather_runs(to_table(rows)), "big") == ()


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ({}, "no score of the frozen base on the same tasks"),
        ({"a": 0.2, "b": 0.4}, "no score of the frozen base on the same tasks"),
        ({"a": 0.9, "b": 0.4, "c": 0.3}, "the calibrated tasks do not rise above the frozen base"),
    ],
)
def test_a_share_that_means_nothing_is_left_out_with_the_reason(base: dict[str, float], reason: str) -> None:
    rows = [*base_rows(base), *run_rows("p0", 0, {"a": 0.8, "b": 0.6, "c": 0.5}, without="bc")]

    assert only(rows).share.value is None
    assert only(rows).share.reason == reason


def test_tasks_without_a_row_do_not_vote_for_the_epoch() -> None:
    rows: list[dict] = []
    for epoch, (seen, unseen) in {1: (0.9, 0.1), 2: (0.8, 0.9)}.items():
        for split in ("validation", "test"):
            scores = {"a": seen, "b": unseen}
            rows += run_rows("p0", 0, scores, without="b", epoch=epoch, split=split)

    (run,) = gather_runs(to_table(rows)).runs

    assert select_epochs(run, "best_on_validation") == {"a": 1, "b": 1}


def splits_of(*runs: tuple[str, str, int, int, str]) -> dict[str, TaskSplit]:
    """Splits by label of runs (method, label, seed, size, tasks without a row), all as good as each other."""
    rows = base_rows(dict.fromkeys("abcdefgh", 0.2))
    for method, label, seed, size, without in runs:
        rows += [
            row(run=f"{label}{seed}{size}", method=method, label=label, seed=seed, size=size, task=task,
                calibrated=task not in without)
            for task in "abcdefgh"
        ]  # fmt: skip
    splits = split_tasks(gather_runs(to_table(rows)), "big")
    return {f"{split.cell.variant.name} {split.cell.size}": split for split in splits}


def test_a_control_saw_the_same_rows_of_the_same_tasks_in_every_seed() -> None:
    splits = splits_of(
        ("portal", "half", 0, 4, "abcd"),
        ("portal", "half", 1, 4, "efgh"),
        ("mean_latent", "mean", 0, 4, "abcd"),
        ("mean_latent", "mean", 1, 4, "efgh"),
        ("mean_latent", "mean", 0, 8, "abcd"),
        ("shared_lora", "shared", 1, 4, "efgh"),
        ("shared_lora", "others", 0, 4, "abcd"),
        ("shared_lora", "others", 1, 4, "abcd"),
    )

    found = controls_of(splits["half 4"], list(splits.values()))

    assert {split.cell.variant.name for split in found} == {"mean", "shared"}
    assert {split.cell.size for split in found} == {4}


def test_a_report_does_not_lead_with_latents_for_which_no_task_gave_a_row() -> None:
    splits = splits_of(("carried", "described", 0, 0, "abcdefgh"), ("portal", "half", 0, 4, "abcd"))

    assert splits["described 0"].is_partial
    assert leading_split(list(splits.values())) == splits["half 4"]
    assert leading_split([splits["described 0"]]) is None


def test_a_report_leads_with_half_of_the_tasks_and_most_rows_whatever_the_scores_are() -> None:
    splits = splits_of(
        ("portal", "quarter", 0, 16, "abcdef"),
        ("portal", "half", 0, 4, "abcd"),
        ("portal", "half", 0, 8, "abcd"),
        ("portal", "all", 0, 16, ""),
        ("shared_lora", "shared", 0, 16, "abcd"),
    )

    assert leading_split(list(splits.values())) == splits["half 8"]
    assert splits["all 16"].num_calibrated == splits["all 16"].num_tasks == 8
    assert splits["all 16"].share.reason == "every task gave rows"


def test_splits_are_read_at_the_epoch_that_a_run_keeps() -> None:
    rows = base_rows({"a": 0.2, "b": 0.2})
    for epoch, acc in ((1, 0.8), (2, 0.5)):
        for split in ("validation", "test"):
            scores = run_rows("p0", 0, {"a": acc, "b": acc}, without="b", epoch=epoch, split=split)
            rows += [
                {
                    **line, "kept": epoch == 1, "keeps_best": True, "num_examples": 10,
                    "train_rows": 0 if line["task"] == "b" else 4,
                }
                for line in scores
            ]  # fmt: skip

    found = only(rows)

    assert found.without_rows.acc.mean == 0.8
    assert found.rows.mean == 4 + 10  # the validation rows of the calibrated task chose the epoch
