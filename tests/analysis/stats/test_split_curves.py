"""Curves over rows and over calibrated tasks: which splits belong together, and what is no curve."""

from analysis.stats.result_table import gather_runs
from analysis.stats.split_curves import curves_beside, curves_over_rows, curves_over_tasks
from analysis.stats.task_split import TaskSplit, split_tasks
from tests.support.result_tables import row, to_table

TASKS = "abcd"


def splits_of(*cells: tuple[str, str, int, int]) -> list[TaskSplit]:
    """Splits of (method, label, size, number of calibrated tasks)."""
    rows = [row(run="base", task=task, acc_norm=0.2) for task in TASKS]
    for method, label, size, count in cells:
        rows += [
            row(run=f"{label} {size}", method=method, label=label, seed=0, size=size, task=task,
                calibrated=place < count)
            for place, task in enumerate(TASKS)
        ]  # fmt: skip
    return list(split_tasks(gather_runs(to_table(rows)), "big"))


GRID = splits_of(
    ("portal", "one", 2, 1), ("portal", "one", 8, 1), ("portal", "half", 2, 2), ("portal", "half", 8, 2),
    ("portal", "all", 2, 4), ("portal", "all", 8, 4), ("shared_lora", "shared", 2, 2),
    ("shared_lora", "shared", 8, 2),
)  # fmt: skip


def test_over_rows_there_is_a_panel_for_every_number_of_calibrated_tasks_but_all() -> None:
    panels = curves_over_rows(GRID)

    assert [panel.fixed for panel in panels] == [2, 1]
    assert [(curve.variant.name, curve.places) for curve in panels[0].curves] == [
        ("half", (2, 8)),
        ("shared", (2, 8)),
    ]


def test_over_tasks_labels_of_one_method_are_a_curve_that_ends_where_all_are_calibrated() -> None:
    panels = curves_over_tasks(GRID)

    assert [panel.fixed for panel in panels] == [2, 8]
    (port, shared) = panels[0].curves
    assert (port.is_port, port.places) == (True, (1, 2, 4))
    assert [split.cell.variant.name for split in port.splits] == ["one", "half", "all"]
    assert shared.places == (2,)


def test_two_settings_with_as_many_calibrated_tasks_are_curves_of_their_own() -> None:
    splits = splits_of(
        ("portal", "fast", 2, 2), ("portal", "fast", 8, 2), ("portal", "slow", 2, 2), ("portal", "slow", 8, 2)
    )

    (panel,) = curves_over_rows(splits)
    assert {(curve.variant.name, curve.places) for curve in panel.curves} == {
        ("fast", (2, 8)),
        ("slow", (2, 8)),
    }
    assert curves_over_tasks(splits) == ()


def test_a_port_at_one_size_is_no_curve_but_is_found_beside_its_controls() -> None:
    splits = splits_of(("portal", "half", 2, 2), ("shared_lora", "shared", 2, 2), ("portal", "one", 2, 1))

    assert curves_over_rows(splits) == ()
    half = next(split for split in splits if split.cell.variant.name == "half")
    assert [curve.variant.name for curve in curves_beside(half, splits).curves] == ["half", "shared"]
