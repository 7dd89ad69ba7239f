"""Variants of a study as a grid: the settings that vary, and what they explain."""

from collections.abc import Mapping
from typing import Any

import pytest

from analysis.stats.grids import find_grids
from analysis.stats.result_table import gather_runs
from portal.results import RunDetail
from portal.search_record import SearchRecord
from tests.support.result_tables import row, to_table

RANKS, RATES, SEEDS = (2, 4, 8), (0.001, 0.01), (0, 1, 2)


def rows_of(key: str, label: str, seed: int, scores: Mapping[str, float]) -> list[dict]:
    """By task: the score on validation rows; on test rows it is the opposite."""
    return [
        row(run=key, base="big", method="lora", label=label, modules="q,v", rank=8, task=task, epoch=1,
            acc_norm=value, split=split, seed=seed, size=8)
        for task, score in scores.items()
        for split, value in (("validation", score), ("test", 1 - score))
    ]  # fmt: skip


def detail(key: str, label: str, seed: int, **settings: Any) -> RunDetail:
    own = {"method": "lora", "seed": seed, "bases": [{"name": "big"}], **settings}
    return RunDetail(key, label, key, "done", None, own)


def study(
    *, ranks: tuple[int, ...] = RANKS, rates: tuple[float, ...] = RATES, validation: bool = True
) -> tuple[SearchRecord, ...]:
    """What is found in a study of a LoRA by rank and rate, whose score grows with the rank alone."""
    rows, details = [], {}
    for rank in ranks:
        for rate in rates:
            for seed in SEEDS:
                key, label = f"{rank}-{rate}-{seed}", f"lora-{rank}-{rate}"
                rows += rows_of(key, label, seed, {"t": rank / 10, "u": rank / 10 + 0.1})
                adapter = {"rank": rank, "alpha": 2 * rank}
                details[key] = detail(key, label, seed, adapter=adapter, train={"lr": rate, "epochs": 3})
    if not validation:
        rows = [each for each in rows if each["split"] == "test"]
    return find_grids(gather_runs(to_table(rows)), "big", details)


def test_a_grid_tells_the_setting_that_its_validation_scores_depend_on() -> None:
    (record,) = study()

    assert (record.name, record.unit, record.direction) == ("per-task LoRA on big", "run", "maximize")
    # Neither the epochs, which are all alike, nor the alpha that follows the rank.
    assert {*record.importance} == {"adapter.rank", "train.lr", "seed"}
    assert record.ranked[0][0] == "adapter.rank"
    assert record.importance["adapter.rank"].share > 0.9
    assert len(record.trials) == 18
    assert record.complete[0].settings["adapter.rank"] == 8
    assert record.complete[0].value == pytest.approx(0.85)


def test_lists_of_unlike_length_are_told_by_that_and_ranks_by_factors() -> None:
    rows, details = [], {}
    for count in (1, 2, 8):
        for rate in RATES:
            for seed in SEEDS:
                key = f"{count}-{rate}-{seed}"
                rows += rows_of(key, key, seed, {"t": count / 10})
                tasks = [f"t{number}" for number in range(count)]
                details[key] = detail(key, key, seed, data={"tasks": tasks}, train={"lr": rate})

    (record,) = find_grids(gather_runs(to_table(rows)), "big", details)

    assert record.complete[0].settings["tasks (number)"] == 8
    assert {*record.logarithmic} == {"tasks (number)", "train.lr"}


def test_rows_and_seeds_alone_are_no_grid() -> None:
    assert study(ranks=(4,), rates=(0.001,)) == ()


def test_fewer_runs_than_twelve_are_no_grid() -> None:
    assert study(ranks=(2, 4, 8), rates=(0.001,)) == ()


def test_without_validation_rows_there_is_no_grid() -> None:
    assert study(validation=False) == ()


def test_runs_that_start_from_others_have_them_by_label() -> None:
    rows, details = [], {}
    for label in ("source-r2", "source-r4"):
        for seed in SEEDS:
            details[f"{label}-{seed}"] = detail(f"{label}-{seed}", label, seed)
    for label in ("source-r2", "source-r4"):
        for rate in RATES:
            for seed in SEEDS:
                key = f"{label}-{rate}-{seed}"
                rows += rows_of(key, f"lora-{label}-{rate}", seed, {"t": 0.5 + 0.1 * (label == "source-r4")})
                details[key] = detail(key, key, seed, source=f"{label}-{seed}", train={"lr": rate})

    (record,) = find_grids(gather_runs(to_table(rows)), "big", details)

    assert record.ranked[0][0] == "source"
    assert record.complete[0].text("source") == "source-r4"


def test_unlike_values_with_like_texts_are_levels_of_their_own() -> None:
    rows, details = [], {}
    for place, tail in enumerate(("a", "b")):
        for rate in RATES:
            for seed in SEEDS:
                key = f"{tail}-{rate}-{seed}"
                rows += rows_of(key, key, seed, {"t": 0.2 + 0.5 * place})
                tasks = [f"t{number}" for number in range(9)] + [tail]
                details[key] = detail(key, key, seed, data={"tasks": tasks}, train={"lr": rate})

    (record,) = find_grids(gather_runs(to_table(rows)), "big", details)

    assert record.ranked[0][0] == "tasks"
    assert len({trial.text("tasks") for trial in record.trials}) == 2


def test_tasks_that_a_seed_draws_are_told_by_their_number() -> None:
    rows, details = [], {}
    for seed in range(12):
        rows += rows_of(str(seed), "lora", seed, {"t": 0.5})
        details[str(seed)] = detail(str(seed), "lora", seed, data={"calibrated": [f"t{seed}", "u"]})

    assert find_grids(gather_runs(to_table(rows)), "big", details) == ()


def test_a_setting_that_goes_with_the_seed_stays_beside_it() -> None:
    rows, details = [], {}
    for seed in range(12):
        rows += rows_of(str(seed), "lora", seed, {"t": seed / 20})
        details[str(seed)] = detail(str(seed), "lora", seed, train={"lr": 0.001 * (seed + 1)})

    (record,) = find_grids(gather_runs(to_table(rows)), "big", details)

    assert {*record.importance} == {"seed", "train.lr"}
    assert record.logarithmic == ("train.lr",)


def test_a_run_without_validation_rows_is_left_out_and_counted() -> None:
    rows, details = [], {}
    for rank in RANKS:
        for rate in RATES:
            for seed in SEEDS:
                key = f"{rank}-{rate}-{seed}"
                own = rows_of(key, key, seed, {"t": rank / 10})
                rows += own if (rank, rate, seed) != (2, 0.001, 0) else own[1:]
                details[key] = detail(key, key, seed, adapter={"rank": rank}, train={"lr": rate})

    (record,) = find_grids(gather_runs(to_table(rows)), "big", details)

    assert (len(record.complete), len(record.trials)) == (17, 18)
