"""Selection rules on runs whose epochs are known."""

import pytest

from analysis.stats.epoch_selection import RULES, SelectionError, select_epochs
from analysis.stats.result_table import Run, gather_runs
from tests.support.result_tables import row, to_table


def run_of(method: str, scores: dict[tuple[str, int, str], tuple[float, float]]) -> Run:
    """A run from (split, epoch, task) -> (acc_norm, log_loss)."""
    rows = [
        row(method=method, split=split, epoch=epoch, task=task, acc_norm=acc, log_loss=loss, seed=0, size=8)
        for (split, epoch, task), (acc, loss) in scores.items()
    ]
    return gather_runs(to_table(rows)).runs[0]


SCORES = {
    # Validation: task a is best at epoch 1, b at 2, their mean at 2. Test: a at 2, b at 3, mean at 3.
    ("validation", 0, "a"): (0.99, 0.1), ("validation", 0, "b"): (0.99, 0.1),
    ("validation", 1, "a"): (0.70, 1.0), ("validation", 1, "b"): (0.40, 1.0),
    ("validation", 2, "a"): (0.60, 1.0), ("validation", 2, "b"): (0.80, 1.0),
    ("validation", 3, "a"): (0.50, 1.0), ("validation", 3, "b"): (0.60, 1.0),
    ("test", 0, "a"): (0.99, 0.1), ("test", 0, "b"): (0.99, 0.1),
    ("test", 1, "a"): (0.50, 1.0), ("test", 1, "b"): (0.50, 1.0),
    ("test", 2, "a"): (0.70, 1.0), ("test", 2, "b"): (0.50, 1.0),
    ("test", 3, "a"): (0.65, 1.0), ("test", 3, "b"): (0.90, 1.0),
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "rule", "expected"),
    [
        ("portal", "best_on_validation", {"a": 2, "b": 2}),
        ("lora", "best_on_validation", {"a": 1, "b": 2}),
        ("portal", "paper", {"a": 3, "b": 3}),
        ("lora", "paper", {"a": 2, "b": 3}),
        ("portal", "final", {"a": 3, "b": 3}),
        ("portal", "kept", {"a": 3, "b": 3}),  # the table does not say which: the last
    ],
)
def test_each_rule_chooses_at_its_own_granularity(method: str, rule: str, expected: dict[str, int]) -> None:
    assert select_epochs(run_of(method, SCORES), rule) == expected


def test_ties_go_to_the_lower_log_loss_and_then_to_the_earlier_epoch() -> None:
    scores = {
        (split, epoch, "a"): (0.5, loss)
        for split in ("validation", "test")
        for epoch, loss in ((1, 2.0), (2, 1.0), (3, 1.0))
    }
    assert select_epochs(run_of("portal", scores), "best_on_validation") == {"a": 2}


@pytest.mark.parametrize(
    ("method", "kept", "final"), [("portal", {"a": 2, "b": 2}, 3), ("lora", {"a": 1, "b": 2}, 3)]
)
def test_where_test_rows_are_of_the_kept_and_the_last_evaluation_only_other_choices_are_refused(
    method: str, kept: dict[str, int], final: int
) -> None:
    scores = {
        (split, epoch, task): score
        for (split, epoch, task), score in SCORES.items()
        if split == "validation" or epoch in (kept[task], final)
    }
    run = run_of(method, scores)
    run.kept.update(kept)

    assert select_epochs(run, "best_on_validation") == kept
    assert select_epochs(run, "final") == {"a": final, "b": final}
    with pytest.raises(SelectionError, match="test rows are scored at the kept and the last evaluation"):
        select_epochs(run, "paper")


def test_a_run_scored_once_needs_no_validation_rows() -> None:
    assert select_epochs(run_of("lora", {("test", 5, "a"): (0.5, 1.0)}), "best_on_validation") == {"a": 5}


def test_the_frozen_base_is_reported_at_epoch_0_under_every_rule() -> None:
    run = run_of("base", {("test", 0, "a"): (0.5, 1.0)})
    assert {rule: select_epochs(run, rule) for rule in RULES} == {rule: {"a": 0} for rule in RULES}


def test_several_epochs_without_validation_rows_are_not_chosen_from() -> None:
    run = run_of("portal", {("test", epoch, "a"): (0.5, 1.0) for epoch in (1, 2)})
    with pytest.raises(SelectionError, match="no validation rows"):
        select_epochs(run, "best_on_validation")


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(ValueError, match="'best'"):
        select_epochs(run_of("base", {("test", 0, "a"): (0.5, 1.0)}), "best")
