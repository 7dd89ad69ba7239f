"""What a report says of tasks without a row, of log-loss and of new tasks, whoever is ahead."""

from pathlib import Path

import pytest

from analysis.report.few_rows import (
    describe_controls,
    describe_losses,
    describe_sizes,
    describe_split,
    new_tasks_block,
    without_rows_block,
    without_rows_tiles,
)
from analysis.report.html import Block, ReportOptions, render_page
from analysis.report.one_study import study_document
from analysis.stats.findings import Target, load_findings
from analysis.stats.task_split import TaskSplit, leading_split
from portal.results import StudyInfo
from tests.support.few_rows import INFO, few_rows_study, new_tasks_study, target_of_study
from tests.support.result_tables import StudyBuilder, known


def lead_of(target: Target) -> TaskSplit:
    return known(leading_split(target.task_splits))


@pytest.fixture(scope="module")
def ahead() -> Target:
    return target_of_study(few_rows_study(port=0.7, shared=0.3, mean=0.25))


@pytest.fixture(scope="module")
def behind() -> Target:
    return target_of_study(few_rows_study(port=0.4, shared=0.7, mean=0.4))


def test_the_headline_is_the_share_of_the_rise_with_both_controls_beside_it(
    ahead: Target, behind: Target
) -> None:
    ((tile,), (other,)) = (without_rows_tiles(target) for target in (ahead, behind))

    assert tile.number.endswith(" %")
    assert 70 < float(tile.number.removesuffix(" %")) < 95
    assert tile.title == "of the calibrated tasks' rise, on tasks without a row on big"
    assert "calibrated on 4 of 8 tasks with 16 rows each (two seeds)" in tile.text
    assert " % of their rise (95 % interval " in tile.text
    for control in ("One LoRA for all tasks", "The port with the mean latent"):
        assert f"{control} is " in tile.text
    assert tile.text.count(" points behind (port less control: 95 % interval +") == 2
    assert "One LoRA for all tasks is " in other.text
    assert " points ahead (port less control: 95 % interval \u2212" in other.text
    assert "The port with the mean latent is not distinguishable from it (" in other.text


def test_controls_and_shares_have_sentences_over_all_sizes(ahead: Target, behind: Target) -> None:
    (first, second), (worse, same) = (
        describe_controls(target, lead_of(target)) for target in (ahead, behind)
    )
    (share,) = describe_sizes(ahead, lead_of(ahead))
    (losses,) = describe_losses(ahead)

    sizes = "with 1, 4 and 16 rows"
    assert first.startswith(
        f"On tasks without a row PorTAL is ahead of one LoRA for all tasks {sizes} per task (with 16 rows: +"
    )
    assert " points, 95 % interval +" in first
    assert f"ahead of the port with the mean latent {sizes} per task" in second
    assert f"PorTAL is behind one LoRA for all tasks {sizes} per task" in worse
    assert "PorTAL is not distinguishable from the port with the mean latent with " in same
    assert share.startswith("With other numbers of rows that share is ")
    assert " with one row and " in share
    assert share.endswith(" with 4 rows.")
    assert losses.startswith(f"PorTAL q,v r8 has a log-loss below the per-task LoRA's {sizes}")
    assert losses.endswith("(95 % intervals of the paired difference).")


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


def test_a_study_in_which_every_task_gave_rows_has_no_such_block_nor_one_of_new_tasks() -> None:
    builder = few_rows_study(port=0.7, shared=0.3)
    builder.rows = [line for line in builder.rows if line["method"] in ("base", "lora")]
    target = target_of_study(builder, with_predictions=False)

    assert without_rows_tiles(target) == []
    assert without_rows_block(target) is new_tasks_block(target) is None


def report_of(builder: StudyBuilder, folder: Path, info: StudyInfo | None = None) -> tuple[str, set[str]]:
    """The page, and the names of its tables and figures."""
    document = study_document(load_findings(builder.write(folder), info), ReportOptions())
    tables = {f"{table.slug}.csv" for table in document.tables}
    return render_page(document), tables | {f"{drawing.name}.svg" for drawing in document.drawings}


def test_the_report_has_the_headline_the_sentences_the_tables_and_the_figures(tmp_path: Path) -> None:
    page, names = report_of(few_rows_study(port=0.7, shared=0.3, mean=0.25, num_examples=20), tmp_path)

    for part in (
        "of the calibrated tasks&#x27; rise, on tasks without a row on big",
        "has a log-loss below the per-task LoRA&#x27;s",
        "big: tasks without a row",
        "Some ports were trained on a part of their tasks and scored on all.",
    ):
        assert part in page
    assert {"without-rows-big.csv", "without-rows-controls-big.csv", "log-loss-big.csv"} <= names
    assert {"without-rows-big.svg", "curve-rows-acc-big.svg", "curve-log-loss-big.svg"} <= names


@pytest.fixture(scope="module")
def new_tasks() -> Block:
    return known(new_tasks_block(target_of_study(new_tasks_study(), info=INFO)))


def test_every_set_says_what_there_is_to_win_what_is_won_and_from_which_source_on(new_tasks: Block) -> None:
    headroom, few, more, half, *_ = new_tasks.lead

    assert headroom.startswith("On 4 new tasks of known kinds the frozen base has accuracy 0.")
    assert "and a LoRA with 48 rows 0." in headroom
    assert headroom.endswith(" % of what is left to be gained.")
    assert few.startswith("Carried latents from a source of 2 tasks, with 4 rows per task: accuracy 0.")
    for part in (
        " on 4 new tasks of known kinds, ",
        " % of the lift of a LoRA with 48 rows, 95 % interval ",
        "; ahead of the port with the mean latent",
        "the per-task LoRA",
    ):
        assert part in few
    assert more.startswith("Carried latents from a source of 2 tasks, with 16 rows per task: accuracy 0.")
    assert half == (
        "Carried latents, with 16 rows, have half of the LoRA's lift on 4 new tasks of known kinds "
        "from a source of 1 task of 1 kind on."
    )
    assert len(new_tasks.lead) == 3 * 4
    assert "on 2 new tasks of new kinds from no source; the most is " in new_tasks.lead[-1]
    assert new_tasks.lead[-1].endswith(" % (2 tasks of 2 kinds).")


def test_a_control_that_is_no_worse_is_named_so() -> None:
    for mean, verdict in ((0.9, "behind"), (0.7, "not distinguishable from")):
        block = known(new_tasks_block(target_of_study(new_tasks_study(mean=mean), info=INFO)))
        few = "with 4 rows per task", "4 new tasks of known"
        (sentence,) = (text for text in block.lead if all(part in text for part in few))
        assert f"{verdict} the port with the mean latent" in sentence


def test_the_figures_have_a_panel_per_set_and_name_their_lines(new_tasks: Block) -> None:
    by_tasks, by_rows = new_tasks.drawings

    assert (by_tasks.name, by_rows.name) == ("new-tasks-big", "new-tasks-rows-big")
    for drawing in (by_tasks, by_rows):
        titles = [axes.get_title() for axes in drawing.figure.axes]
        assert titles == [
            "4 new tasks of known kinds",
            "2 new tasks of kinds that every source had",
            "2 new tasks of new kinds",
        ]
        for axes in drawing.figure.axes:  # on the right: the share of the LoRA's lift
            (right,) = axes.child_axes
            low, high = axes.get_ylim()
            drawing.figure.draw_without_rendering()
            lifts = right.get_ylim()
            scale = (high - low) / (lifts[1] - lifts[0])
            assert scale == pytest.approx(0.7, abs=0.1)  # a LoRA's rise
            assert low - scale * lifts[0] == pytest.approx(0.2, abs=0.1)  # the frozen base
        (legend,) = drawing.figure.legends
        assert "frozen base" in [text.get_text() for text in legend.get_texts()]
    for part in ("carried latents, 4 rows from 0.", "port with the mean latent from 0."):
        assert f"known kinds: {part}" in by_tasks.alt
    for part in ("carried latents, 2 source tasks", "carried latents, 1 source task", "per-task LoRA"):
        assert f"{part} from 0." in by_rows.alt
    assert "Dotted: controls." in by_tasks.caption
    assert "Dotted" not in by_rows.caption


def test_a_report_of_new_tasks_has_a_part_for_them_with_tables_and_figures(tmp_path: Path) -> None:
    page, names = report_of(new_tasks_study(), tmp_path, INFO)

    assert '<h3 class="part">New tasks</h3>' in page
    assert {"new-tasks-big.svg", "new-tasks-rows-big.svg", "new-tasks-leads-big.csv"} <= names
    assert {"new-tasks-of-known-kinds-big.csv", "new-tasks-of-new-kinds-big.csv"} <= names
