"""The section on a search: which setting mattered, as far as that can be told."""

from analysis.report.search import grid_block, search_section
from portal.search_record import Importance
from tests.support.searches import search_record


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
