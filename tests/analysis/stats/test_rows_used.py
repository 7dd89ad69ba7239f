"""Rows that a run used: those it trained on, and those that chose its epoch, whoever chose."""

import pytest

from analysis.stats.result_table import Run, gather_runs
from analysis.stats.rows_used import rows_used
from tests.support.result_tables import row, to_table


def run_of(*, epochs: int = 1, keeps_best: bool | None = False, trained: dict[str, int | None]) -> Run:
    (run,) = gather_runs(
        to_table(
            [
                row(run="r", method="portal", seed=0, size=8, task=task, epoch=epoch, split=split,
                    num_examples=16 if split == "validation" else 50, train_rows=count, keeps_best=keeps_best)
                for task, count in trained.items()
                for epoch in range(1, epochs + 1)
                for split in ("validation", "test")
            ]
        )
    ).runs  # fmt: skip
    return run


@pytest.mark.parametrize(
    ("epochs", "keeps_best", "rule", "expected"),
    [
        (1, False, "best_on_validation", 8 + 3),  # nothing to choose
        (2, False, "kept", 8 + 3),
        (2, False, "final", 8 + 3),
        (2, False, "best_on_validation", 8 + 3 + 2 * 16),
        (2, False, "paper", 8 + 3 + 2 * 50),
        (2, True, "kept", 8 + 3 + 2 * 16),
        (2, True, "final", 8 + 3 + 2 * 16),
    ],
)
def test_rows_that_chose_the_epoch_count_beside_those_that_were_trained_on(
    epochs: int, keeps_best: bool, rule: str, expected: int
) -> None:
    run = run_of(epochs=epochs, keeps_best=keeps_best, trained={"a": 8, "b": 3, "c": 0})

    assert rows_used(run, rule) == expected


def test_tables_that_do_not_say_leave_it_open() -> None:
    assert rows_used(run_of(trained={"a": None}), "kept") is None
    assert rows_used(run_of(keeps_best=None, trained={"a": 8}), "kept") is None
