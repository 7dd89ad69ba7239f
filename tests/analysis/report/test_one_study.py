"""What the page of a study opens with, and which setting of a search mattered, as far as that is known."""

from pathlib import Path

import pyarrow as pa
import pytest

from analysis import ReportInput, write_report
from analysis.report.one_study import grid_block, search_section
from portal.results import RUNS, RUNS_FILE, AbsentRun, RunDetail, StudyInfo, write_table
from portal.search_record import Importance
from tests.support.result_tables import StudyBuilder
from tests.support.searches import search_record


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


def test_the_setting_that_explains_most_comes_first_with_its_interval() -> None:
    section = search_section(search_record())

    assert section is not None
    assert section.lead == (
        "12 of 13 trials of tune came to their end. lora.train.lr explains 70 % of the variance of score "
        "alone, more than any other."
    )
    (block,) = section.blocks
    (table,) = block.tables
    assert [row[0] for row in table.texts] == ["lora.train.lr", "lora.adapter.rank", "lora.train.schedule"]
    assert table.texts[0] == ("lora.train.lr", "70 %", "50 to 90 %", "0.0121")
    (trials,) = block.folded
    assert [row[0] for row in trials.rows] == list(range(11, -1, -1))
    assert [drawing.name for drawing in block.drawings] == ["search-settings", "search-contour"]


def test_a_lead_that_may_be_chance_is_not_called_one() -> None:
    record = search_record(lr=Importance(0.5, 0.1, 0.8), rank=Importance(0.4, 0.2, 0.7))

    section = search_section(record)

    assert section is not None
    assert section.lead.endswith("whether it matters more than lora.adapter.rank (40 %) cannot be told.")


def test_a_lead_is_over_every_other_setting_not_the_second_only() -> None:
    record = search_record(lr=Importance(0.6, 0.4, 0.8), rank=Importance(0.2, 0.1, 0.3))
    wide = {**record.importance, "lora.train.schedule": Importance(0.1, 0.0, 0.5)}

    section = search_section(record.model_copy(update={"importance": wide}))

    assert section is not None
    assert section.lead.endswith("it matters more than lora.train.schedule (10 %) cannot be told.")


def test_a_search_that_says_nothing_says_why() -> None:
    record = search_record().model_copy(update={"importance": {}, "unknown": "3 complete trials are too few"})

    section = search_section(record)

    assert section is not None
    assert section.lead.endswith("Which setting mattered is not known: 3 complete trials are too few.")
    (block,) = section.blocks
    assert block.tables == ()
    (drawing,) = block.drawings
    assert "matter" not in drawing.caption


def test_before_any_trial_has_ended_there_is_no_section() -> None:
    assert search_section(search_record().model_copy(update={"trials": ()})) is None


def test_a_grid_has_a_block_of_its_own() -> None:
    record = search_record().model_copy(update={"name": "per-task LoRA on big", "unit": "run"})

    block = grid_block(record, "big")

    assert block.title == "Which setting mattered: per-task LoRA on big"
    assert block.lead[0].startswith(
        "12 runs of per-task LoRA on big; 1 more without validation rows. lora.train.lr explains 70 %"
    )
    assert "random forest fitted to the runs" in block.lead[1]
    (table,) = block.tables
    assert (table.slug, table.columns[-1].name) == ("grid-lora-big-importance", "in the best run")
    assert [drawing.name for drawing in block.drawings] == ["grid-lora-big-settings", "grid-lora-big-contour"]


def test_a_grid_without_shares_says_why() -> None:
    record = search_record().model_copy(update={"importance": {}, "unknown": "it needs scikit-learn"})

    block = grid_block(record, "big")

    assert len(block.lead) == 1
    assert block.lead[0].endswith("Which setting mattered is not known: it needs scikit-learn.")
    assert block.tables == ()
