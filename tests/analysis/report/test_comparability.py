"""Studies that cannot be put side by side are refused by what they do not share."""

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.report.comparability import check_comparable, describe_differences
from analysis.stats.findings import Findings, load_findings
from portal.results import StudyInfo
from tests.support.result_tables import StudyBuilder, study_with_port

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
