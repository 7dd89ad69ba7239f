"""Two studies side by side: paired differences, what only one has, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.report.two_studies import check_comparable, describe_differences
from analysis.report.write import ReportInput, write_report
from analysis.stats.findings import Findings, load_findings
from portal.results import StudyInfo
from tests.support.result_tables import StudyBuilder, study_of_kinds, study_with_port


def write_pair(folder: Path, first: StudyBuilder, second: StudyBuilder) -> Path:
    sources = [
        ReportInput(builder.write(folder / name), name, StudyInfo(facts={"study": name}))
        for name, builder in (("before", first), ("after", second))
    ]
    return write_report(sources, folder / "report")


def test_the_page_says_what_changed_and_what_did_not(tmp_path: Path) -> None:
    page = write_pair(tmp_path, study_with_port(0.6), study_with_port(0.75)).read_text(encoding="utf-8")
    assert "PorTAL q,v r8, 64 rows in after has a higher accuracy than in before at three seeds" in page
    assert "frozen base: both studies have the same answers." in page
    assert "<h3>before</h3>" in page
    assert "<h3>after</h3>" in page
    assert "differences are after minus before" in page


def test_what_one_study_lacks_is_a_dash_with_a_reason(tmp_path: Path) -> None:
    second = study_with_port(0.75)
    for seed in range(3):
        second.add("hypernet", seed=seed, size=64, rates=(0.7,))
    second.add("base", base="other")
    write_pair(tmp_path, study_with_port(0.6), second)
    text = (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    assert "LoRA hypernet q,v r8, 64 rows: no result in before" in text
    assert "other is in after only." in text


def test_studies_without_a_seed_in_common_have_no_interval(tmp_path: Path) -> None:
    first = study_with_port(0.6, seeds=1)
    second = StudyBuilder()
    second.add("base", rates=(0.3,))
    second.add("portal", seed=7, size=64, rates=(0.7,))
    write_pair(tmp_path, first, second)
    text = (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    assert "no difference, for the studies share no seed" in text


def test_unlike_evaluation_sets_are_refused(tmp_path: Path) -> None:
    second = study_with_port(0.75)
    for line in second.rows:
        line["eval_set"] = "f" * 64
    with pytest.raises(ValueError, match="before and after were scored on unlike evaluation sets"):
        write_pair(tmp_path, study_with_port(0.6), second)
    assert not (tmp_path / "report").exists()


def test_studies_of_one_name_are_numbered(tmp_path: Path) -> None:
    sources = [
        ReportInput(builder.write(tmp_path / str(place)), "demo")
        for place, builder in enumerate((study_with_port(0.6), study_with_port(0.7)))
    ]
    page = write_report(sources, tmp_path / "report").read_text(encoding="utf-8")
    assert "demo (1)" in page
    assert "demo (2)" in page


def test_three_studies_are_no_report(tmp_path: Path) -> None:
    source = ReportInput(study_with_port(0.6).write(tmp_path / "a"))
    with pytest.raises(ValueError, match="of one study or of two, not of 3"):
        write_report([source] * 3, tmp_path / "report")


def test_unlike_tasks_have_no_difference_and_unlike_prompts_are_named(tmp_path: Path) -> None:
    second = study_with_port(0.75)
    second.rows = [line for line in second.rows if line["task"] != "pronoun"]
    for line in second.rows:
        line["prompt_set"] = "other"
    write_pair(tmp_path, study_with_port(0.6), second)
    text = (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    assert "PorTAL q,v r8, 64 rows: no difference, for the studies have other tasks" in text
    assert "Prompts differ: plain in before, other in after." in text


def test_a_size_that_is_the_largest_of_one_study_only_is_compared_where_both_have_it(tmp_path: Path) -> None:
    second = study_with_port(0.75)
    for seed in range(3):
        second.add("portal", seed=seed, size=128, rates=(0.78,))
    write_pair(tmp_path, study_with_port(0.6), second)
    text = (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    assert "PorTAL q,v r8, 64 rows in after has a higher accuracy than in before at three seeds" in text
    assert "PorTAL q,v r8, 128 rows: no result in before" in text
    assert (
        "after, recovered lift of PorTAL q,v r8: with 128 rows per task, against the per-task LoRA's with 64"
        in text
    )


def test_studies_with_kinds_are_compared_by_kind_before_by_task(tmp_path: Path) -> None:
    builder, kinds = study_of_kinds(3, 4)
    sources = [
        ReportInput(builder.write(tmp_path / name), name, StudyInfo(kinds=kinds)) for name in ("a", "b")
    ]
    page = write_report(sources, tmp_path / "report").read_text(encoding="utf-8")
    assert "<h3>big: acc_norm by kind of task <a" in page
    assert "<summary>big: acc_norm by task <a" in page
    csv = (tmp_path / "report" / "tables" / "pair-kinds-big.csv").read_text(encoding="utf-8")
    assert [line.split(",")[:2] for line in csv.splitlines()[1:]] == [[f"kind0{n}", "4"] for n in range(3)]


NAMES = ("before", "after")


def findings_of(folder: Path, first: StudyBuilder, second: StudyBuilder) -> tuple[Findings, Findings]:
    return load_findings(first.write(folder / "before")), load_findings(second.write(folder / "after"))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("eval_set", "f" * 64, "before and after were scored on unlike evaluation sets"),
        ("acc_norm_unit", "bytes", "divides by chars in before and by bytes in after"),
        ("task", "else", "no task in common"),
    ],
)
def test_unlike_studies_are_refused(tmp_path: Path, column: str, value: str, message: str) -> None:
    first, second = (replace(study_with_port(0.6), with_predictions=False) for _ in NAMES)
    second.rows = [{**line, column: value} for line in second.rows if line["task"] == "capital"]
    findings = findings_of(tmp_path, first, second)

    with pytest.raises(ValueError, match=message):
        check_comparable(findings, NAMES)


def test_other_prompts_and_weights_are_named_but_compared(tmp_path: Path) -> None:
    first, second = (replace(study_with_port(0.6), with_predictions=False) for _ in NAMES)
    second.rows = [{**line, "prompt_set": "other", "base_revision": "2"} for line in second.rows]
    findings = findings_of(tmp_path, first, second)

    check_comparable(findings, NAMES)
    assert describe_differences(findings, NAMES) == [
        "Prompts differ: plain in before, other in after.",
        "The revision of big differs: the studies have other weights.",
    ]
    assert describe_differences((findings[0], findings[0]), NAMES) == []


def test_another_precision_of_a_base_is_named(tmp_path: Path) -> None:
    study = replace(study_with_port(0.6), with_predictions=False)
    first, second = findings_of(tmp_path, study, study)
    rounded = replace(second, info=StudyInfo(facts={"precision": {"big": "bf16"}}))

    assert describe_differences((first, rounded), NAMES) == [
        "The precision of big differs: default in before, bf16 in after."
    ]
    assert describe_differences((rounded, rounded), NAMES) == []
