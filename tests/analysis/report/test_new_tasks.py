"""What a report says of new tasks, whoever is ahead."""

from pathlib import Path

import pytest

from analysis import ReportInput, write_report
from analysis.report.new_tasks import new_tasks_block
from tests.support.few_rows import few_rows_study, target_of_study
from tests.support.new_tasks import INFO, new_tasks_study, target_with_new_tasks


def test_every_set_says_what_there_is_to_win_what_is_won_and_from_which_source_on() -> None:
    block = new_tasks_block(target_with_new_tasks(new_tasks_study()))

    assert block is not None
    headroom, few, more, half, *_ = block.lead
    assert headroom.startswith("On 4 new tasks of known kinds the frozen base has accuracy 0.")
    assert "and a LoRA with 48 rows 0." in headroom
    assert headroom.endswith(" % of what is left to be gained.")
    assert few.startswith("Carried latents from a source of 2 tasks, with 4 rows per task: accuracy 0.")
    assert " on 4 new tasks of known kinds, " in few
    assert " % of the lift of a LoRA with 48 rows, 95 % interval " in few
    assert "; ahead of the port with the mean latent" in few
    assert "the per-task LoRA" in few
    assert more.startswith("Carried latents from a source of 2 tasks, with 16 rows per task: accuracy 0.")
    assert half == (
        "Carried latents, with 16 rows, have half of the LoRA's lift on 4 new tasks of known kinds "
        "from a source of 1 task of 1 kind on."
    )
    assert len(block.lead) == 3 * 4
    assert "on 2 new tasks of new kinds from no source; the most is " in block.lead[-1]
    assert block.lead[-1].endswith(" % (2 tasks of 2 kinds).")


@pytest.mark.parametrize(("mean", "verdict"), [(0.9, "behind"), (0.7, "not distinguishable from")])
def test_a_control_that_is_no_worse_is_named_so(mean: float, verdict: str) -> None:
    block = new_tasks_block(target_with_new_tasks(new_tasks_study(mean=mean)))

    assert block is not None
    (sentence,) = (
        text for text in block.lead if "with 4 rows per task" in text and "4 new tasks of known" in text
    )
    assert f"{verdict} the port with the mean latent" in sentence


def test_the_figures_have_a_panel_per_set_and_name_their_lines() -> None:
    block = new_tasks_block(target_with_new_tasks(new_tasks_study()))

    assert block is not None
    by_tasks, by_rows = block.drawings
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
    assert "known kinds: carried latents, 4 rows from 0." in by_tasks.alt
    assert "known kinds: port with the mean latent from 0." in by_tasks.alt
    assert "carried latents, 2 source tasks from 0." in by_rows.alt
    assert "carried latents, 1 source task from 0." in by_rows.alt
    assert "per-task LoRA from 0." in by_rows.alt
    assert "Dotted: controls." in by_tasks.caption
    assert "Dotted" not in by_rows.caption


def test_without_new_tasks_there_is_no_block() -> None:
    assert new_tasks_block(target_of_study(few_rows_study(port=0.7, shared=0.3))) is None


def test_the_report_has_the_figures_and_the_table(tmp_path: Path) -> None:
    results = new_tasks_study().write(tmp_path / "results")

    page = write_report([ReportInput(results, "new tasks", INFO)], tmp_path / "report")

    names = {path.name for path in page.parent.iterdir()}
    assert {"new-tasks-big.svg", "new-tasks-rows-big.svg"} <= names
    tables = {path.name for path in (page.parent / "tables").iterdir()}
    assert {
        "new-tasks-of-known-kinds-big.csv", "new-tasks-of-new-kinds-big.csv", "new-tasks-leads-big.csv",
    } <= tables  # fmt: skip
    assert '<h3 class="part">New tasks</h3>' in page.read_text(encoding="utf-8")
