"""The tables by kind: a line per kind with its number of tasks, the mean over all tasks last."""

from analysis.tables.accuracy import per_task_table
from analysis.tables.kinds import kinds_table, short_kinds_table
from tests.support.result_tables import StudyBuilder, study_of_kinds, target_of


def test_every_kind_has_a_line_with_its_tasks_and_the_mean_comes_last() -> None:
    builder, kinds = study_of_kinds(3, 4)
    table = kinds_table(target_of(builder.rows, kinds=kinds))
    assert table is not None
    assert [row[:2] for row in table.rows] == [("kind00", 4), ("kind01", 4), ("kind02", 4), ("task mean", 12)]
    assert table.names[:4] == ("kind", "tasks", "chance", "frozen base")
    assert table.names[4:] == ("PorTAL q,v r8", "per-task LoRA q,v r8", "PorTAL q,v r8: lift")
    assert table.footer == 1


def test_there_is_no_table_by_kind_where_no_two_tasks_share_one() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    for kinds in ({}, {"capital": "fact", "pronoun": "syntax"}):
        assert kinds_table(target_of(builder.rows, kinds=kinds)) is None
        assert short_kinds_table(target_of(builder.rows, kinds=kinds)) is None
        assert "kind" not in per_task_table(target_of(builder.rows, kinds=kinds)).names


def test_the_table_by_task_names_the_kind_of_each() -> None:
    builder, kinds = study_of_kinds(2, 2)
    table = per_task_table(target_of(builder.rows, kinds=kinds))
    assert {row[0]: row[1] for row in table.rows[:-1]} == kinds
    assert table.rows[-1][:2] == ("task mean", None)


def test_a_terminal_is_shown_what_the_lift_is_made_of() -> None:
    builder, kinds = study_of_kinds(2, 2)
    builder.add("hypernet", seed=0, size=8)
    table = short_kinds_table(target_of(builder.rows, kinds=kinds))
    assert table is not None
    assert table.names[3:-1] == ("frozen base", "PorTAL q,v r8", "per-task LoRA q,v r8")


def test_kinds_without_a_lift_are_named_once_per_reason() -> None:
    builder = StudyBuilder(tasks=("a1", "a2", "b1", "b2"), with_predictions=False)
    builder.add("base", rates=(0.8,))
    builder.add("lora", seed=0, size=8, rates=(0.3,))
    builder.add("portal", seed=0, size=8, rates=(0.7,))
    kinds = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}
    table = kinds_table(target_of(builder.rows, kinds=kinds))
    assert table is not None
    assert table.reasons == ("recovered lift of a, b: the per-task LoRA does not rise above the base",)


def test_missing_lifts_of_many_tasks_are_counted() -> None:
    builder = StudyBuilder(tasks=tuple(f"t{number}" for number in range(30)), with_predictions=False)
    builder.add("base", rates=(0.8,))
    builder.add("lora", seed=0, size=8, rates=(0.3,))
    builder.add("portal", seed=0, size=8, rates=(0.7,))
    table = per_task_table(target_of(builder.rows))
    assert table.reasons == ("recovered lift of 30 tasks: the per-task LoRA does not rise above the base",)
