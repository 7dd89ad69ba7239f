"""What a report says of tasks without a row and of log-loss, whoever is ahead."""

from pathlib import Path

import pytest

from analysis import ReportInput, write_report
from analysis.report.few_rows import (
    describe_controls,
    describe_losses,
    describe_sizes,
    describe_split,
    without_rows_block,
    without_rows_tiles,
)
from analysis.stats.findings import Target
from analysis.stats.task_split import TaskSplit, leading_split
from tests.support.few_rows import few_rows_study, target_of_study


def lead_of(target: Target) -> TaskSplit:
    split = leading_split(target.task_splits)
    assert split is not None
    return split


@pytest.fixture(scope="module")
def ahead() -> Target:
    return target_of_study(few_rows_study(port=0.7, shared=0.3, mean=0.25))


@pytest.fixture(scope="module")
def behind() -> Target:
    return target_of_study(few_rows_study(port=0.4, shared=0.7, mean=0.4))


def test_the_headline_is_the_share_of_the_rise_with_both_controls_beside_it(ahead: Target) -> None:
    (tile,) = without_rows_tiles(ahead)

    assert tile.number.endswith(" %")
    assert 70 < float(tile.number.removesuffix(" %")) < 95
    assert tile.title == "of the calibrated tasks' rise, on tasks without a row on big"
    assert "calibrated on 4 of 8 tasks with 16 rows each (two seeds)" in tile.text
    assert " % of their rise (95 % interval " in tile.text
    assert "One LoRA for all tasks is " in tile.text
    assert "The port with the mean latent is " in tile.text
    assert tile.text.count(" points behind (port less control: 95 % interval +") == 2


def test_a_control_that_is_ahead_and_one_that_cannot_be_told_apart_are_named_so(behind: Target) -> None:
    (tile,) = without_rows_tiles(behind)

    assert "One LoRA for all tasks is " in tile.text
    assert " points ahead (port less control: 95 % interval \u2212" in tile.text
    assert "The port with the mean latent is not distinguishable from it (" in tile.text


def test_every_control_has_a_sentence_over_all_sizes(ahead: Target, behind: Target) -> None:
    first, second = describe_controls(ahead, lead_of(ahead))
    assert first.startswith(
        "On tasks without a row PorTAL is ahead of one LoRA for all tasks with 1, 4 and 16 rows per task "
        "(with 16 rows: +"
    )
    assert " points, 95 % interval +" in first
    assert "ahead of the port with the mean latent with 1, 4 and 16 rows per task" in second
    worse, same = describe_controls(behind, lead_of(behind))
    assert "PorTAL is behind one LoRA for all tasks with 1, 4 and 16 rows per task" in worse
    assert "PorTAL is not distinguishable from the port with the mean latent with " in same


def test_the_share_is_told_for_every_other_size(ahead: Target) -> None:
    (sentence,) = describe_sizes(ahead, lead_of(ahead))

    assert sentence.startswith("With other numbers of rows that share is ")
    assert " with one row and " in sentence
    assert sentence.endswith(" with 4 rows.")


def test_a_study_without_a_control_says_that_nothing_is_shown() -> None:
    builder = few_rows_study(port=0.7, shared=0.3)
    builder.rows = [line for line in builder.rows if line["method"] != "shared_lora"]
    target = target_of_study(builder)

    (tile,) = without_rows_tiles(target)
    assert "The study has no control that saw the same rows" in tile.text
    (sentence,) = describe_controls(target, lead_of(target))
    assert sentence.startswith("The study has no control")


def test_a_share_of_a_rise_that_is_not_clear_is_not_a_headline() -> None:
    builder = few_rows_study(port=0.2, shared=0.2, num_examples=10)
    for line in builder.predictions:
        if line["run"].startswith("portal"):
            line["scores"] = [-4.0, -9.0, -9.0, -9.0]  # always the first choice
    target = target_of_study(builder)

    (tile,) = without_rows_tiles(target)
    assert tile.number == "\u2014"
    assert "what share of the rise that is cannot be said: " in tile.text


def test_without_predictions_the_numbers_stand_without_intervals() -> None:
    target = target_of_study(few_rows_study(port=0.7, shared=0.3), with_predictions=False)

    assert "interval" not in describe_split(target, lead_of(target))
    (tile,) = without_rows_tiles(target)
    assert "points behind, without an interval." in tile.text
    (sentence,) = describe_controls(target, lead_of(target))
    assert sentence.startswith("On tasks without a row PorTAL differs from one LoRA for all tasks by +")
    assert describe_losses(target) == []


def test_log_loss_is_compared_with_the_lora_at_every_size(ahead: Target) -> None:
    (sentence,) = describe_losses(ahead)

    assert sentence.startswith("PorTAL q,v r8 has a log-loss below the per-task LoRA's with 1, 4 and 16 rows")
    assert sentence.endswith("(95 % intervals of the paired difference).")


def test_a_study_in_which_every_task_gave_rows_has_no_such_block() -> None:
    builder = few_rows_study(port=0.7, shared=0.3)
    builder.rows = [line for line in builder.rows if line["method"] in ("base", "lora")]
    target = target_of_study(builder, with_predictions=False)

    assert without_rows_tiles(target) == []
    assert without_rows_block(target) is None


def test_the_report_has_the_headline_the_sentences_the_tables_and_the_figures(tmp_path: Path) -> None:
    results = few_rows_study(port=0.7, shared=0.3, mean=0.25).write(tmp_path / "results")

    page = write_report([ReportInput(results)], tmp_path / "report").read_text(encoding="utf-8")

    assert "of the calibrated tasks&#x27; rise, on tasks without a row on big" in page
    assert "has a log-loss below the per-task LoRA&#x27;s" in page
    tables = {path.name for path in (tmp_path / "report" / "tables").iterdir()}
    assert {"without-rows-big.csv", "without-rows-controls-big.csv", "log-loss-big.csv"} <= tables
    figures = {path.name for path in (tmp_path / "report").glob("*.svg")}
    assert {"without-rows-big.svg", "curve-rows-acc-big.svg", "curve-log-loss-big.svg"} <= figures
    assert "Some ports were trained on a part of their tasks and scored on all." in page
