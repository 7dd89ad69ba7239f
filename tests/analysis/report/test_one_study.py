"""What the page of a study opens with."""

from pathlib import Path

from analysis import ReportInput, write_report
from portal.results import AbsentRun, StudyInfo
from tests.support.result_tables import StudyBuilder


def study_of_two_bases() -> StudyBuilder:
    """Ports with 4 and 16 rows on `big`, calibrated on all tasks, beside LoRAs; on `other` only LoRAs."""
    builder = StudyBuilder(num_examples=60)
    for base in ("big", "other"):
        builder.add("base", base=base, rates=(0.2,))
    for seed in (0, 1):
        for size, lora, port in ((4, 0.4, 0.6), (16, 0.7, 0.75)):
            builder.add("lora", seed=seed, size=size, rates=(lora,))
            builder.add("lora", base="other", seed=seed, size=size, rates=(lora,))
            builder.add("portal", seed=seed, size=size, rates=(port,))
    return builder


def opening(builder: StudyBuilder, folder: Path, info: StudyInfo | None = None) -> list[str]:
    """The titles of the figures that the report opens with, in order."""
    results = builder.write(folder / "results")
    write_report([ReportInput(results, "two bases", info)], folder / "report")
    text = (folder / "report" / "tables.md").read_text(encoding="utf-8")
    return [line[2:].partition(": ")[0] for line in text.split("\n## ")[0].splitlines() if line[:2] == "- "]


def test_savings_stand_before_recovered_lifts_and_a_base_without_a_port_has_none(tmp_path: Path) -> None:
    data, lift = opening(study_of_two_bases(), tmp_path)

    assert data.startswith("data on big, at ")
    assert lift == "recovered lift on big"


def test_a_base_whose_port_is_missing_is_named_among_the_headlines(tmp_path: Path) -> None:
    missing = AbsentRun(run="r9", method="portal", label="portal", base="other", size=4, seed=0)

    titles = opening(study_of_two_bases(), tmp_path, StudyInfo(missing=(missing,)))

    assert titles[1:] == ["recovered lift on big", "recovered lift on other"]


def test_a_study_without_ports_says_so_of_every_base(tmp_path: Path) -> None:
    builder = StudyBuilder(num_examples=20, with_predictions=False)
    for base in ("big", "other"):
        builder.add("base", base=base)

    assert opening(builder, tmp_path) == ["recovered lift on big", "recovered lift on other"]
