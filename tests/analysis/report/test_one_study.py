"""What the page of a study opens with."""

from pathlib import Path

import pyarrow as pa
import pytest

from analysis import ReportInput, write_report
from portal.results import AbsentRun, StudyInfo, write_table
from portal.run_details import RUNS, RUNS_FILE, RunDetail
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


@pytest.mark.parametrize("ranks", [(2, 4, 8, 16), (8,)])
def test_the_settings_of_a_studys_variants_have_a_part_of_their_base(
    tmp_path: Path, ranks: tuple[int, ...]
) -> None:
    builder, details = StudyBuilder(num_examples=20, with_predictions=False), []
    builder.add("base", rates=(0.2,))
    for rank in ranks:
        for seed in range(12 // len(ranks)):
            key = builder.add("lora", seed=seed, size=8, rates=(0.3 + 0.02 * rank,), label=f"lora-r{rank}")
            own = {"method": "lora", "seed": seed, "bases": [{"name": "big"}], "adapter": {"rank": rank}}
            details.append(RunDetail(key, f"lora-r{rank}", key, "done", None, own))
    results = builder.write(tmp_path / "results")
    write_table(pa.Table.from_pylist([each.row() for each in details], schema=RUNS), results / RUNS_FILE)

    write_report([ReportInput(results, "ranks")], tmp_path / "report")

    text = (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    names_the_rank = "12 runs of per-task LoRA on big. adapter.rank explains" in text
    assert names_the_rank == (len(ranks) > 1)
    assert (tmp_path / "report" / "grid-lora-big-settings.svg").is_file() == names_the_rank
