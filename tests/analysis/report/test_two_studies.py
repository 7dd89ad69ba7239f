"""Two studies side by side: paired differences, what only one has, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.report.two_studies import check_comparable, describe_differences
from analysis.report.write import ReportInput, write_report
from analysis.stats.findings import load_findings
from portal.results import StudyInfo
from tests.support.result_tables import TASKS, StudyBuilder, study_of_kinds, study_with_port

NAMES = ("before", "after")


def write_pair(folder: Path, first: StudyBuilder, second: StudyBuilder, **info: object) -> Path:
    sources = [
        ReportInput(builder.write(folder / name), name, StudyInfo(facts={"study": name}, **info))
        for name, builder in zip(NAMES, (first, second), strict=True)
    ]
    return write_report(sources, folder / "report")


def tables_of(page: Path) -> str:
    return (page.parent / "tables.md").read_text(encoding="utf-8")


def test_the_page_says_what_changed_what_did_not_and_what_one_study_lacks(tmp_path: Path) -> None:
    second = study_with_port(0.75)
    for seed in range(3):
        second.add("hypernet", seed=seed, size=64, rates=(0.7,))
        second.add("portal", seed=seed, size=128, rates=(0.78,))
    second.add("base", base="other")

    page = write_pair(tmp_path, study_with_port(0.6), second)

    shown, tables = page.read_text(encoding="utf-8"), tables_of(page)
    for part in (
        "PorTAL q,v r8, 64 rows in after has a higher accuracy than in before at three seeds",
        "frozen base: both studies have the same answers.",
        "<h3>before</h3>",
        "<h3>after</h3>",
        "differences are after minus before",
    ):
        assert part in shown
    for part in (
        "LoRA hypernet q,v r8, 64 rows: no result in before",
        "PorTAL q,v r8, 128 rows: no result in before",
        "after, recovered lift of PorTAL q,v r8: with 128 rows per task, against the per-task LoRA's with 64",
        "other is in after only.",
    ):
        assert part in tables


def test_studies_without_a_seed_or_with_other_tasks_have_no_difference_and_unlike_prompts_are_named(
    tmp_path: Path,
) -> None:
    first, second = study_with_port(0.6, seeds=1), StudyBuilder()
    second.add("base", rates=(0.3,))
    second.add("portal", seed=7, size=64, rates=(0.7,))
    other_tasks = study_with_port(0.75, seeds=1)
    other_tasks.rows = [
        {**line, "prompt_set": "other"} for line in other_tasks.rows if line["task"] != "pronoun"
    ]

    no_seed = tables_of(write_pair(tmp_path / "seed", first, second))
    no_task = tables_of(write_pair(tmp_path / "task", first, other_tasks))

    assert "no difference, for the studies share no seed" in no_seed
    assert "PorTAL q,v r8, 64 rows: no difference, for the studies have other tasks" in no_task
    assert "Prompts differ: plain in before, other in after." in no_task


def test_studies_of_one_name_are_numbered_and_three_are_no_report(tmp_path: Path) -> None:
    study = replace(study_with_port(0.6, seeds=1), with_predictions=False)
    sources = [ReportInput(study.write(tmp_path / each), "demo") for each in "abc"]

    page = write_report(sources[:2], tmp_path / "report").read_text(encoding="utf-8")

    assert "demo (1)" in page
    assert "demo (2)" in page
    with pytest.raises(ValueError, match="of one study or of two, not of 3"):
        write_report(sources, tmp_path / "report")


def test_studies_with_kinds_are_compared_by_kind_before_by_task(tmp_path: Path) -> None:
    builder, kinds = study_of_kinds(3, 4)
    page = write_pair(tmp_path, builder, builder, kinds=kinds)
    shown = page.read_text(encoding="utf-8")

    assert "<h3>big: acc_norm by kind of task <a" in shown
    assert "<summary>big: acc_norm by task <a" in shown
    csv = (page.parent / "tables" / "pair-kinds-big.csv").read_text(encoding="utf-8")
    assert [line.split(",")[:2] for line in csv.splitlines()[1:]] == [[f"kind0{n}", "4"] for n in range(3)]


def changed(tasks: tuple[str, ...], **values: str) -> tuple[StudyBuilder, StudyBuilder]:
    """A study without predictions and the same one with some tasks and other values of columns."""
    first, second = (replace(study_with_port(0.6, seeds=1), with_predictions=False) for _ in NAMES)
    second.rows = [{**line, **values} for line in second.rows if line["task"] in tasks]
    return first, second


def test_unlike_studies_are_refused(tmp_path: Path) -> None:
    for column, value, message in (
        ("eval_set", "f" * 64, "before and after were scored on unlike evaluation sets"),
        ("acc_norm_unit", "bytes", "divides by chars in before and by bytes in after"),
        ("task", "else", "no task in common"),
    ):
        with pytest.raises(ValueError, match=message):
            write_pair(tmp_path, *changed(("capital",), **{column: value}))
    assert not (tmp_path / "report").exists()


def test_other_prompts_weights_and_precisions_are_named_but_compared(tmp_path: Path) -> None:
    builders = changed(TASKS, prompt_set="other", base_revision="2")
    first, second = (
        load_findings(builder.write(tmp_path / name)) for name, builder in zip(NAMES, builders, strict=True)
    )
    rounded = replace(first, info=StudyInfo(facts={"precision": {"big": "bf16"}}))

    check_comparable((first, second), NAMES)
    assert describe_differences((first, second), NAMES) == [
        "Prompts differ: plain in before, other in after.",
        "The revision of big differs: the studies have other weights.",
    ]
    assert describe_differences((first, rounded), NAMES) == [
        "The precision of big differs: default in before, bf16 in after."
    ]
    for same in (first, rounded):
        assert describe_differences((same, same), NAMES) == []
