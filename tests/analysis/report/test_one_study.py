"""What the page of a study opens with, and which setting of a search mattered, as far as that is known."""

from pathlib import Path

import pyarrow as pa
import pytest

from analysis.report.html import ReportOptions
from analysis.report.one_study import grid_block, search_section, study_document
from analysis.stats.findings import load_findings
from portal.results import RUNS, RUNS_FILE, AbsentRun, RunDetail, StudyInfo, write_table
from portal.search_record import Importance
from tests.support.result_tables import StudyBuilder, known
from tests.support.searches import search_record


def study_of_two_bases(*, ports: bool = True) -> StudyBuilder:
    """Ports with 4 and 16 rows on `big`, calibrated on all tasks, beside LoRAs; on `other` only LoRAs."""
    builder = StudyBuilder(with_predictions=False)
    for base in ("big", "other"):
        builder.add("base", base=base, rates=(0.2,))
        for size, lora, port in ((4, 0.4, 0.6), (16, 0.7, 0.75)):
            builder.add("lora", base=base, seed=0, size=size, rates=(lora,))
            if ports and base == "big":
                builder.add("portal", seed=0, size=size, rates=(port,))
    return builder


def test_savings_stand_before_recovered_lifts_and_a_missing_port_is_named_among_the_headlines(
    tmp_path: Path,
) -> None:
    lifts = ["recovered lift on big", "recovered lift on other"]
    missing = AbsentRun(run="r9", method="portal", label="portal", base="other", size=4, seed=0)
    for builder, absent, expected in (
        (study_of_two_bases(), (), ["data on big", lifts[0]]),
        (study_of_two_bases(), (missing,), ["data on big", *lifts]),
        (study_of_two_bases(ports=False), (), lifts),
    ):
        findings = load_findings(builder.write(tmp_path), StudyInfo(missing=absent))
        opening = study_document(findings, ReportOptions()).to_markdown().partition("\n## ")[0]
        titles = [line[2:].partition(": ")[0] for line in opening.splitlines() if line[:2] == "- "]
        assert [title.partition(", at ")[0] for title in titles] == expected


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
    write_table(
        pa.Table.from_pylist([each.row() for each in details], schema=RUNS),
        builder.write(tmp_path) / RUNS_FILE,
    )

    document = study_document(load_findings(tmp_path), ReportOptions())

    names_the_rank = "12 runs of per-task LoRA on big. adapter.rank explains" in document.to_markdown()
    assert names_the_rank == (len(ranks) > 1)
    drawn = {drawing.name for drawing in document.drawings}
    assert ("grid-lora-big-settings" in drawn) == names_the_rank


def test_the_setting_that_explains_most_comes_first_with_its_interval() -> None:
    section = known(search_section(search_record()))
    (block,) = section.blocks
    (table,) = block.tables
    (trials,) = block.folded

    assert section.lead == (
        "12 of 13 trials of tune came to their end. lora.train.lr explains 70 % of the variance of score "
        "alone, more than any other."
    )
    assert [row[0] for row in table.texts] == ["lora.train.lr", "lora.adapter.rank", "lora.train.schedule"]
    assert table.texts[0] == ("lora.train.lr", "70 %", "50 to 90 %", "0.0121")
    assert [row[0] for row in trials.rows] == list(range(11, -1, -1))
    assert [drawing.name for drawing in block.drawings] == ["search-settings", "search-contour"]


def test_a_lead_that_may_be_chance_is_not_called_one() -> None:
    for lr, rank, schedule, end in (
        ((0.5, 0.1, 0.8), (0.4, 0.2, 0.7), (0.1, 0.0, 0.2), "lora.adapter.rank (40 %)"),
        # over every other setting, not the second only
        ((0.6, 0.4, 0.8), (0.2, 0.1, 0.3), (0.1, 0.0, 0.5), "lora.train.schedule (10 %)"),
    ):
        record = search_record(Importance(*lr), Importance(*rank))
        shares = {**record.importance, "lora.train.schedule": Importance(*schedule)}
        section = known(search_section(record.model_copy(update={"importance": shares})))
        assert section.lead.endswith(f"it matters more than {end} cannot be told.")


def test_a_search_that_says_nothing_says_why_and_one_without_trials_has_no_section() -> None:
    record = search_record().model_copy(update={"importance": {}, "unknown": "3 complete trials are too few"})
    section = known(search_section(record))
    (block,) = section.blocks

    assert section.lead.endswith("Which setting mattered is not known: 3 complete trials are too few.")
    assert block.tables == ()
    assert ["matter" in drawing.caption for drawing in block.drawings] == [False]
    assert search_section(record.model_copy(update={"trials": ()})) is None


def test_a_grid_has_a_block_of_its_own_and_without_shares_says_why() -> None:
    record = search_record().model_copy(update={"name": "per-task LoRA on big", "unit": "run"})
    block = grid_block(record, "big")
    (table,) = block.tables

    assert block.title == "Which setting mattered: per-task LoRA on big"
    assert block.lead[0].startswith(
        "12 runs of per-task LoRA on big; 1 more without validation rows. lora.train.lr explains 70 %"
    )
    assert "random forest fitted to the runs" in block.lead[1]
    assert (table.slug, table.columns[-1].name) == ("grid-lora-big-importance", "in the best run")
    assert [drawing.name for drawing in block.drawings] == ["grid-lora-big-settings", "grid-lora-big-contour"]
    unknown = grid_block(
        record.model_copy(update={"importance": {}, "unknown": "it needs scikit-learn"}), "big"
    )
    (lead,) = unknown.lead
    assert lead.endswith("Which setting mattered is not known: it needs scikit-learn.")
    assert unknown.tables == ()
