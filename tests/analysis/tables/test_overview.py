"""The table of all bases prints the published numbers as published, below a study's own."""

from analysis.stats.aggregate import compare
from analysis.stats.result_table import gather_runs
from analysis.tables.overview import overview_table
from tests.support.result_tables import StudyBuilder, published_rows, to_table


def test_the_published_numbers_print_as_published_for_every_base_and_stand_below_a_studys_own() -> None:
    study = gather_runs(to_table(published_rows()))
    table = overview_table([compare(study, base) for base in ("qwen3-4b", "qwen3-8b", "gemma-3-4b")])
    shown = {row[0]: dict(zip(table.names, row, strict=True)) for row in table.texts}
    for base, method, lift in (
        ("qwen3-4b", "LoRA hypernet", "94.2 %"),
        ("qwen3-8b", "Cross-LoRA", "14.1 %"),
        ("qwen3-8b", "LoRA hypernet", "92.2 %"),
        ("qwen3-8b", "PorTAL", "97.7 %"),
        ("gemma-3-4b", "PorTAL", "94.0 %"),
    ):
        assert shown[base][f"{method}: lift"] == lift
    assert shown["qwen3-8b"]["Cross-LoRA: retention"] == "86.2 %"
    assert shown["qwen3-8b"]["PorTAL: retention"] == "99.6 %"
    for base, section in (("qwen3-4b", "6.1"), ("qwen3-8b", "6.2"), ("gemma-3-4b", "6.3")):
        own, published = shown.pop(base), shown.pop(f"{base}, published (the paper's table {section})")
        assert {**own, "base": ""} == {**published, "base": ""}
    assert shown == {}


def test_a_base_that_the_paper_does_not_have_has_no_published_line() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    table = overview_table([compare(gather_runs(builder.results_table()), "big")])
    assert [row[0] for row in table.rows] == ["big"]


def test_numbers_of_a_card_stand_below_a_studys_own_with_what_they_are_not() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", base="mistral-7b")

    table = overview_table([compare(gather_runs(builder.results_table()), "mistral-7b")])

    own, published = [dict(zip(table.names, row, strict=True)) for row in table.texts]
    assert own["PorTAL"] == "—"
    assert published["base"] == "mistral-7b, published (portallib's card)"
    assert published["PorTAL"] == "0.791"
    (note,) = [note for note in table.reasons if "card" in note]
    assert "whose epoch was chosen on the rows that are reported" in note
