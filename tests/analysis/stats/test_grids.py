"""Variants of a study as a grid: the settings that vary, and what they explain."""

import math
from typing import Any

import pytest

from analysis.stats.grids import find_grids
from portal.results import RunDetail
from portal.search_record import SearchRecord
from tests.support.result_tables import row, study_of

RANKS, RATES, SEEDS = (2, 4, 8), (0.001, 0.01), (0, 1, 2)


def grids_of(*runs: tuple[str, int, float, dict[str, Any]]) -> tuple[SearchRecord, ...]:
    """Of LoRAs (label, seed, score of task t on validation rows, settings); test scores are the opposite."""
    rows, details = [], {}
    for label, seed, score, settings in runs:
        key = f"{label}-{seed}"
        own = {"method": "lora", "seed": seed, "bases": [{"name": "big"}], **settings}
        details[key] = RunDetail(key, label, key, "done", None, own)
        rows += [
            row(run=key, method="lora", label=label, modules="q,v", rank=8, task=task, epoch=1,
                acc_norm=value, split=split, seed=seed, size=8)
            for task, more in (("t", 0.0), ("u", 0.1))
            for split, value in (("validation", score + more), ("test", 1 - score - more))
            if not (math.isnan(score) and split == "validation")
        ]  # fmt: skip
    return find_grids(study_of(rows), "big", details)


def study(*, ranks: tuple[int, ...] = RANKS, rates: tuple[float, ...] = RATES) -> list:
    """Runs of a LoRA by rank and rate, whose score grows with the rank alone."""
    return [
        (f"lora-{rank}-{rate}", seed, rank / 10,
         {"adapter": {"rank": rank, "alpha": 2 * rank}, "train": {"lr": rate, "epochs": 3}})
        for rank in ranks
        for rate in rates
        for seed in SEEDS
    ]  # fmt: skip


def test_a_grid_tells_the_setting_that_its_validation_scores_depend_on() -> None:
    (record,) = grids_of(*study())

    assert (record.name, record.unit, record.direction) == ("per-task LoRA on big", "run", "maximize")
    # Neither the epochs, which are all alike, nor the alpha that follows the rank.
    assert {*record.importance} == {"adapter.rank", "train.lr", "seed"}
    assert record.ranked[0][0] == "adapter.rank"
    assert record.importance["adapter.rank"].share > 0.9
    assert len(record.trials) == 18
    assert record.complete[0].settings["adapter.rank"] == 8
    assert record.complete[0].value == pytest.approx(0.85)


def test_a_run_without_validation_rows_is_left_out_and_counted() -> None:
    first, *others = study()
    (record,) = grids_of((*first[:2], math.nan, first[3]), *others)

    assert (len(record.complete), len(record.trials)) == (17, 18)


def test_seeds_alone_fewer_than_twelve_runs_and_runs_without_validation_rows_are_no_grid() -> None:
    assert grids_of(*study(ranks=(4,), rates=(0.001,))) == ()
    assert grids_of(*study(rates=(0.001,))) == ()
    assert grids_of(*((*each[:2], math.nan, each[3]) for each in study())) == ()
    drawn = [("lora", seed, 0.5, {"data": {"calibrated": [f"t{seed}", "u"]}}) for seed in range(12)]
    assert grids_of(*drawn) == ()  # tasks that a seed draws are told by their number


def test_lists_of_unlike_length_are_told_by_that_and_ranks_by_factors() -> None:
    (record,) = grids_of(
        *(
            (f"{count}-{rate}", seed, count / 10,
             {"data": {"tasks": [f"t{number}" for number in range(count)]}, "train": {"lr": rate}})
            for count in (1, 2, 8)
            for rate in RATES
            for seed in SEEDS
        )
    )  # fmt: skip

    assert record.complete[0].settings["tasks (number)"] == 8
    assert {*record.logarithmic} == {"tasks (number)", "train.lr"}


def test_runs_that_start_from_others_have_them_by_label() -> None:
    labels = ("source-r2", "source-r4")
    sources = [(label, seed, math.nan, {}) for label in labels for seed in SEEDS]
    (record,) = grids_of(
        *sources,
        *(
            (f"lora-{label}-{rate}", seed, 0.5 + 0.1 * (label == "source-r4"),
             {"source": f"{label}-{seed}", "train": {"lr": rate}})
            for label in labels
            for rate in RATES
            for seed in SEEDS
        ),
    )  # fmt: skip

    assert record.ranked[0][0] == "source"
    assert record.complete[0].text("source") == "source-r4"


def test_unlike_values_with_like_texts_are_levels_of_their_own() -> None:
    (record,) = grids_of(
        *(
            (f"{tail}-{rate}", seed, 0.2 + 0.5 * (tail == "b"),
             {"data": {"tasks": [*(f"t{number}" for number in range(9)), tail]}, "train": {"lr": rate}})
            for tail in "ab"
            for rate in RATES
            for seed in SEEDS
        )
    )  # fmt: skip

    assert record.ranked[0][0] == "tasks"
    assert len({trial.text("tasks") for trial in record.trials}) == 2


def test_a_setting_that_goes_with_the_seed_stays_beside_it() -> None:
    (record,) = grids_of(
        *(("lora", seed, seed / 20, {"train": {"lr": 0.001 * (seed + 1)}}) for seed in range(12))
    )

    assert {*record.importance} == {"seed", "train.lr"}
    assert record.logarithmic == ("train.lr",)
