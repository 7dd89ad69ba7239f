"""The table of how far the seed decides what a method scores."""

from analysis.stats.aggregate import compare, summarise_sources
from analysis.stats.result_table import gather_runs
from analysis.tables.seed_spread import seed_spread_table
from tests.support.result_tables import StudyBuilder


def test_every_trained_method_has_a_row_and_sources_come_last() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", rates=(0.3,))
    for seed in (0, 1):
        builder.add("lora", seed=seed, size=8, rates=(0.6,))
        builder.add("source", base="small", seed=seed, size=8, rates=(0.8,))
    study = gather_runs(builder.results_table())

    table = seed_spread_table([compare(study, "big")], summarise_sources(study), study.score_name)

    assert table is not None
    rows = [dict(zip(table.names, texts, strict=True)) for texts in table.texts]
    assert [(row["base"], row["seeds"], row["tasks"]) for row in rows] == [
        ("big", "2", "3"),
        ("small", "2", "3"),
    ]
    assert all(" to " in row["pooled std: 95 %"] and row["of task"] in builder.tasks for row in rows)


def test_without_two_seeds_there_is_none() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("lora", seed=0, size=8, rates=(0.6,))
    study = gather_runs(builder.results_table())

    assert seed_spread_table([compare(study, "big")], (), study.score_name) is None
