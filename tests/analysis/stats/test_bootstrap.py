"""The bootstrap recovers known differences, covers them, and respects pairs, clusters, tasks and seeds."""

import statistics
import time
from math import sqrt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from analysis.report.sentences import count_seeds, describe_methods
from analysis.stats.aggregate import KEPT, Comparison, MethodSummary, compare
from analysis.stats.answers import Answers, TaskAnswers
from analysis.stats.bootstrap import (
    LOG_LOSS,
    Bootstrap,
    ClusterDraws,
    Interval,
    bootstrap_accuracy,
    bootstrap_over_tasks,
    choose_runs,
    draw_tasks,
    find_seed_spreads,
)
from analysis.stats.calibration import draw_errors
from analysis.stats.result_table import Cell, MethodKey
from tests.support.result_tables import TASKS, StudyBuilder, chosen_of, known, limits, row, study_of


def draws_of(*names: str, num_draws: int = 4000, seed: int = 0) -> ClusterDraws:
    return ClusterDraws(names, num_draws, seed)


def test_a_cluster_is_drawn_equally_often_in_every_task_and_apart_from_a_task_of_its_name() -> None:
    others = tuple(map(str, range(20)))
    first = np.eye(21)[:, :1]
    counts = draws_of("ann", *others).sums(first)

    np.testing.assert_array_equal(draws_of(*others[::-1], "ann").sums(first[::-1]), counts)
    of_task = draw_tasks(("ann", *others), num_draws=4000, seed=0)[:, :1]
    for other in (draws_of("bob", *others), draws_of("ann", *others, seed=1)):
        assert not np.array_equal(other.sums(first), counts)
    assert not np.array_equal(of_task, counts)


def test_counts_are_whole_and_have_the_moments_of_a_poisson_variable() -> None:
    count = draw_tasks([str(place) for place in range(30)], num_draws=40_000, seed=0)[:, 3].astype(float)

    assert (count.mean(), count.var()) == pytest.approx((1, 1), abs=0.02)
    assert np.mean(count == 0) == pytest.approx(np.exp(-1), abs=0.01)


def test_a_draw_that_would_have_nothing_has_everything_once() -> None:
    tasks = draw_tasks(("a", "b"), num_draws=2000, seed=0)
    clusters = draws_of("a", "b", num_draws=2000).sums(np.eye(2))

    for count_DN in (tasks, clusters):
        assert count_DN.sum(axis=1).min() >= 1
        # Both are 1 by themselves with probability e^-2, and as often because both would be 0.
        assert np.mean((count_DN == 1).all(axis=1)) == pytest.approx(2 * np.exp(-2), abs=0.03)


def test_other_columns_change_no_sum_of_counts() -> None:
    generator = np.random.default_rng(0)
    names = tuple(map(str, range(150)))
    count_CK = generator.integers(0, 3, (150, 40)).astype(float)

    together = draws_of(*names, num_draws=100).sums(count_CK)
    for column in range(40):
        alone = draws_of(*names, num_draws=100).sums(count_CK[:, [column]])
        np.testing.assert_array_equal(together[:, [column]], alone)


FIRST = Cell("big", MethodKey("portal", "portal", "q,v", 8, None), 8)
THIRD = Cell("big", MethodKey("hypernet", "hypernet", "q,v", 8, None), 8)
SECOND = Cell("big", MethodKey("lora", "lora", "q,v", 8, None), 8)


def answers_of(right: dict[str, np.ndarray], cluster_size: int, name: str = "row") -> TaskAnswers:
    """Runs that answer so, three times in four sure of it; clusters are called `name` and a number."""
    num_rows = len(next(iter(right.values())))
    sure, ones = np.full(num_rows, 0.75), np.ones(num_rows)
    answers = {key: Answers(values, values, sure, ones, ones, ones, ones) for key, values in right.items()}
    clusters = np.arange(num_rows) // cluster_size
    return TaskAnswers(tuple(f"{name} {place}" for place in range(clusters[-1] + 1)), clusters, answers)


TWO = chosen_of({FIRST: {0: "p"}, SECOND: {0: "l"}})


def bootstrap_of(answers: dict[str, TaskAnswers], *, num_draws: int = 1000) -> Bootstrap:
    return bootstrap_accuracy(TWO, answers, num_draws=num_draws)


def drawn_cells(
    builder: StudyBuilder,
    comparison: Comparison,
    *without: str,
    predictions: pa.Table | None = None,
    num_draws: int = 200,
) -> Bootstrap:
    """The bootstrap of a comparison's main cells but those of some methods."""
    cells = [each.cell for each in comparison.headline_summaries if each.cell.method not in without]
    chosen = choose_runs(builder.study(), cells, comparison.rule)
    return bootstrap_accuracy(
        chosen, chosen.answers(predictions or builder.predictions_table()), num_draws=num_draws
    )


def width(interval: Interval) -> float:
    low, high = limits(interval)
    return high - low


def test_intervals_cover_a_known_difference_at_about_their_level() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        right = {"p": generator.random(300) < 0.6, "l": generator.random(300) < 0.7}
        low, high = limits(bootstrap_of({"a": answers_of(right, 1)}, num_draws=400).difference(FIRST, SECOND))
        covered += low <= -0.1 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_a_bootstrap_without_seed_noise_has_the_textbook_width_and_whole_clusters_a_wider_one() -> None:
    right = {"p": np.repeat(np.arange(100) % 2 == 0, 4), "l": np.zeros(400, dtype=bool)}
    alone, grouped = (
        bootstrap_of({"a": answers_of(right, size)}, num_draws=10_000).estimate(FIRST) for size in (1, 4)
    )

    assert width(alone) == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 400), rel=0.05)
    assert width(grouped) > 1.5 * width(alone)


def test_people_whom_several_tasks_ask_about_are_drawn_once_for_all_of_them() -> None:
    generator = np.random.default_rng(0)
    able = generator.random(60) < 0.5
    right = [able ^ (generator.random(60) < 0.1) for _ in range(3)]

    def std_of(names: tuple[str, str, str]) -> float:
        answers = {
            f"t{place}": answers_of({"p": own, "l": own}, 1, name)
            for place, (own, name) in enumerate(zip(right, names, strict=True))
        }
        return float(bootstrap_of(answers, num_draws=6000).draws["p"].std())

    means = np.mean(right, axis=0)
    assert std_of(("who", "who", "who")) == pytest.approx(np.sqrt(means.var() / 60), rel=0.05)
    apart = np.sqrt(sum(own.var() / 60 for own in right)) / 3
    assert std_of(("a", "b", "c")) == pytest.approx(apart, rel=0.05)
    assert np.sqrt(means.var() / 60) > 1.5 * apart


def test_drawing_tasks_as_well_adds_the_variance_between_them() -> None:
    # Every answer of a task is alike, so that nothing but the tasks varies.
    rates = [0, 1, 1, 1, 0, 1, 0, 1] * 5
    answers = {
        f"t{place}": answers_of({"p": np.full(10, bool(rate)), "l": np.ones(10, dtype=bool)}, 1, f"{place}")
        for place, rate in enumerate(rates)
    }

    fixed = bootstrap_of(answers, num_draws=8000)
    drawn = bootstrap_over_tasks(TWO, answers, num_draws=8000)

    assert fixed.draws["p"].std() == pytest.approx(0, abs=1e-12)
    assert drawn.points == fixed.points
    assert drawn.draws["p"].std() == pytest.approx(np.sqrt(np.var(rates) / 40), rel=0.05)
    assert drawn.draws["l"].std() == pytest.approx(0, abs=1e-12)


def test_log_loss_is_per_token_within_a_task_and_a_mean_over_tasks() -> None:
    nll = {"a": [1.0, 2.0, 6.0], "b": [4.0, 0.5]}
    tokens = {"a": [1, 1, 4], "b": [2, 1]}
    answers = {}
    for task, values in nll.items():
        ones = np.ones(len(values))
        own = Answers(ones > 0, ones > 0, ones, ones, ones, np.array(values), np.array(tokens[task]))
        names = tuple(f"{task}{place}" for place in range(len(values)))
        answers[task] = TaskAnswers(names, np.arange(len(values)), {"p": own, "l": own})

    found = bootstrap_over_tasks(TWO, answers, LOG_LOSS, num_draws=3000)

    assert found.points["p"] == pytest.approx((9 / 6 + 4.5 / 3) / 2)
    assert found.draws["p"].mean() == pytest.approx(1.5, abs=0.1)
    assert found.difference(FIRST, SECOND).high == 0


def test_two_methods_with_the_same_answers_differ_by_exactly_nothing_and_draws_repeat() -> None:
    right = np.random.default_rng(0).random(200) < 0.5
    answers = {"a": answers_of({"p": right, "l": right}, 2)}
    first, second = bootstrap_of(answers), bootstrap_of(answers)

    assert first.difference(FIRST, SECOND) == Interval(0, 0, 0)
    np.testing.assert_array_equal(first.draws["p"], second.draws["p"])


@pytest.fixture(scope="module")
def comparison(demo_builder: StudyBuilder) -> Comparison:
    return compare(demo_builder.study(), "mini-gemma3")


def test_points_are_those_of_the_main_table_and_a_run_more_changes_no_other_interval(
    demo_builder: StudyBuilder, comparison: Comparison
) -> None:
    full, part = (drawn_cells(demo_builder, comparison, *without) for without in ((), ("hypernet",)))
    base, port, lora = (known(comparison.representative(method)) for method in ("base", "portal", "lora"))

    for line in comparison.headline_summaries:
        assert full.estimate(line.cell).value == pytest.approx(line.acc.mean, abs=1e-12)
    assert full.difference(port.cell, lora.cell) == part.difference(port.cell, lora.cell)
    lift = full.lift(port.cell, base.cell, lora.cell)
    assert lift.value == pytest.approx(port.lift.value)
    low, high = limits(lift)
    assert low < known(lift.value) < high


def test_lift_has_no_interval_when_the_lora_hardly_rises() -> None:
    right = {"p": np.arange(100) < 50, "l": np.arange(100) < 51, "b": np.arange(100) < 50}
    base = Cell("big", MethodKey("base", "base", None, None, None), None)
    chosen = chosen_of({FIRST: {0: "p"}, SECOND: {0: "l"}, base: {None: "b"}})

    interval = bootstrap_accuracy(chosen, {"a": answers_of(right, 1)}, num_draws=500).lift(
        FIRST, base, SECOND
    )

    assert interval.value is None
    assert interval.reason


def test_sentences_say_what_can_and_cannot_be_told_apart() -> None:
    builder = StudyBuilder()
    builder.add("base", rates=(0.3,))
    for seed in range(3):
        for method in ("lora", "portal"):
            builder.add(method, seed=seed, size=8, rates=(0.7,))
    comparison = compare(builder.study(), "big")

    sentences = describe_methods(comparison, drawn_cells(builder, comparison, num_draws=10_000))

    assert sentences[0].startswith("The per-task LoRA and PorTAL are not distinguishable at three seeds")
    assert sentences[-1].startswith("PorTAL has a higher accuracy than the frozen base at three seeds")
    assert (count_seeds(1), count_seeds(12)) == ("one seed", "12 seeds")


def test_predictions_on_unlike_examples_are_refused(
    demo_builder: StudyBuilder, comparison: Comparison
) -> None:
    predictions = demo_builder.predictions_table()
    (run, *_) = demo_builder.study().cells[comparison.headline_summaries[0].cell]
    mixed = predictions.filter(
        pc.or_(pc.equal(predictions["run"], run.key), pc.not_equal(predictions["example"], "0003"))
    )

    with pytest.raises(ValueError, match="unlike examples"):
        drawn_cells(demo_builder, comparison, predictions=mixed)


def test_ten_thousand_draws_at_the_size_of_the_paper_take_seconds() -> None:
    generator = np.random.default_rng(0)
    seeds = {cell: {seed: f"{cell.method}{seed}" for seed in range(3)} for cell in (FIRST, SECOND)}
    chosen = chosen_of({**seeds, THIRD: {seed: f"h{seed}" for seed in range(3)}})
    sizes = [1000] * 3 + [500] * 6 + [277, 56, 100, 638, 104]
    answers = {
        f"t{place}": answers_of({key: generator.random(size) < 0.7 for key in chosen.runs}, 1, f"t{place}")
        for place, size in enumerate(sizes)
    }
    started = time.process_time()
    bootstrap_accuracy(chosen, answers)
    draw_errors(chosen, answers)
    assert sum(sizes) > 7000
    assert time.process_time() - started < 30  # four, where nothing else runs


SCORES = {"capital": (0.5, 0.7, 0.9), "pronoun": (0.6, 0.6, 0.6), "yes-no": (0.4, 0.5, 0.4)}


def summaries_of(scores: dict[str, tuple[float, ...]], *, without: int | None = None) -> list[MethodSummary]:
    """One LoRA with these scores by task and seed; the run of seed `without` lacks the last task."""
    rows = [
        row(
            run=f"r{seed}", method="lora", seed=seed, size=8, rank=4, modules="q,v", task=task, epoch=1,
            acc_norm=value, kept=True,
        )
        for task, values in scores.items()
        for seed, value in enumerate(values)
        if not (seed == without and task == TASKS[-1])
    ]  # fmt: skip
    return list(compare(study_of(rows), "big", KEPT).summaries)


def test_the_pooled_std_is_the_root_of_the_mean_variance_and_its_interval_draws_tasks() -> None:
    (found,) = find_seed_spreads(summaries_of(SCORES))
    (alike,) = find_seed_spreads(summaries_of(dict.fromkeys(TASKS, (0.4, 0.6))))

    variances = [statistics.variance(values) for values in SCORES.values()]
    assert found.pooled.value == pytest.approx(sqrt(sum(variances) / 3))
    assert (found.num_seeds, found.num_tasks) == (3, 3)
    assert (found.largest, found.largest_task) == (pytest.approx(0.2), "capital")
    low, high = limits(found.pooled)
    assert 0 <= low < found.pooled.value < high <= found.largest
    assert limits(alike.pooled) == pytest.approx((alike.pooled.value, alike.pooled.value))


def test_where_a_task_has_one_seed_only_there_is_no_spread() -> None:
    assert find_seed_spreads(summaries_of(dict.fromkeys(TASKS, (0.4,)))) == ()
    assert find_seed_spreads(summaries_of(dict.fromkeys(TASKS, (0.4, 0.6)), without=1)) == ()
