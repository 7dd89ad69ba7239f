"""Intervals of calibrated tasks and of those without a row: by hand, and as often right as they say."""

from collections.abc import Mapping

import numpy as np
import pytest

from analysis.stats.answers import Answers, TaskAnswers
from analysis.stats.bootstrap import Chosen, interval_of
from analysis.stats.resampling import ClusterDraws, draw_tasks
from analysis.stats.result_table import Cell, Cost, MethodKey, Run, Score
from analysis.stats.split_bootstrap import SplitBootstrap, bootstrap_splits

PORT, CONTROL, BASE = (
    Cell("big", MethodKey(method, method, None, None, None), size)
    for method, size in (("portal", 4), ("shared_lora", 4), ("base", None))
)
Rights = Mapping[tuple[Cell, int | None], Mapping[str, np.ndarray]]
"""By cell and seed, then by task, which rows are answered rightly."""


def splits_of(
    rights: Rights, without: Mapping[int | None, set[str]], names: tuple[str, ...], *, num_draws: int
) -> SplitBootstrap:
    """The bootstrap of runs that answer so; row r of every task is about the person `names[r]`."""
    score = Score(1, 0.0, None, 0.0, 0.0)
    runs, members = {}, {}
    for (cell, seed), of_tasks in rights.items():
        key = f"{cell.method}{seed}"
        runs[key] = Run(key, cell, seed, Cost(None, None, None, None), "chars")
        runs[key].scores = {"test": {1: dict.fromkeys(of_tasks, score)}}
        runs[key].without_rows = set(without[seed]) if seed is not None else set()
        members.setdefault(cell, {})[seed] = key
    tasks = next(iter(rights.values()))
    answers = {
        task: TaskAnswers(
            names,
            np.arange(len(names)),
            {f"{cell.method}{seed}": answered(own[task]) for (cell, seed), own in rights.items()},
        )
        for task in tasks
    }
    chosen = Chosen(runs, {key: dict.fromkeys(tasks, 1) for key in runs}, members)
    return bootstrap_splits(chosen, answers, num_draws=num_draws)


def answered(right: np.ndarray) -> Answers:
    ones = np.ones(len(right))
    return Answers(right, right, ones, ones, ones, ones, ones)


def test_every_number_is_what_loops_over_tasks_people_and_seeds_give() -> None:
    generator = np.random.default_rng(1)
    tasks, names, num_draws = ("a", "b", "c", "d"), ("ann", "bob", "cid", "dan", "eva"), 40
    without = {0: {"a", "b"}, 1: {"b", "c", "d"}}
    rates = {PORT: 0.9, CONTROL: 0.6, BASE: 0.1}
    rights = {
        (cell, seed): {task: generator.random(len(names)) < rates[cell] for task in tasks}
        for cell in rates
        for seed in ((None,) if cell == BASE else (0, 1))
    }

    found = splits_of(rights, without, names, num_draws=num_draws)

    person = ClusterDraws(names, num_draws, 0).sums(np.eye(len(names)))
    of_seeds = np.random.default_rng((0, 2)).multinomial(2, [0.5, 0.5], size=num_draws) / 2

    def mean(cell: Cell, is_without: bool, draw: int | None) -> float:
        """Undrawn, or with what a draw of people, of tasks and of seeds changes each alone."""
        total = 0.0
        for place, seed in enumerate((0, 1)):
            group = [task for task in tasks if (task in without[seed]) == is_without]
            own = rights[cell, None if cell == BASE else seed]
            scores = [own[task].mean() for task in group]
            total += np.mean(scores) / 2
            if draw is not None:
                people = [(person[draw] * own[task]).sum() / person[draw].sum() for task in group]
                counts = draw_tasks(group, num_draws=num_draws, seed=0)[draw]
                by_tasks = sum(counts * scores) / sum(counts)
                total += (np.mean(people) - np.mean(scores)) / 2 + (by_tasks - np.mean(scores)) / 2
                total += (of_seeds[draw, place] - 0.5) * np.mean(scores)
        return total

    for cell in (PORT, CONTROL):
        for is_without in (False, True):
            group = "without_rows" if is_without else "calibrated"
            draws = np.array([mean(cell, is_without, draw) for draw in range(num_draws)])
            base = np.array([mean(BASE, is_without, draw) for draw in range(num_draws)])
            known = found.accuracy(cell, group), found.rise_of(cell, group)
            points = mean(cell, is_without, None), mean(BASE, is_without, None)
            for interval, point, drawn in (
                (known[0], points[0], draws), (known[1], points[0] - points[1], draws - base),
            ):  # fmt: skip
                assert interval is not None
                expected = interval_of(point, drawn)
                assert (interval.value, interval.low, interval.high) == pytest.approx(
                    (expected.value, expected.low, expected.high)
                )
    ahead = np.array([mean(PORT, True, d) - mean(CONTROL, True, d) for d in range(num_draws)])
    difference = found.difference(PORT, CONTROL)
    assert difference is not None
    assert (difference.low, difference.high) == pytest.approx(tuple(np.quantile(ahead, [0.025, 0.975])))
    shares = [
        (mean(PORT, True, d) - mean(BASE, True, d)) / (mean(PORT, False, d) - mean(BASE, False, d))
        for d in range(num_draws)
    ]
    share = found.share(PORT)
    assert share is not None
    assert (share.low, share.high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))


def test_a_share_of_no_clear_rise_is_left_out_with_the_reason() -> None:
    generator = np.random.default_rng(0)
    names = tuple(map(str, range(10)))
    rights = {
        (cell, seed): {task: generator.random(10) < 0.5 for task in "abcd"}
        for cell, seed in ((PORT, 0), (BASE, None))
    }

    share = splits_of(rights, {0: {"a", "b"}}, names, num_draws=200).share(PORT)

    assert share is not None
    assert share.low is None
    assert share.reason == "the rise on the calibrated tasks is not clearly positive"


def test_a_run_that_saw_rows_of_every_task_has_no_other_group() -> None:
    names = ("ann", "bob")
    rights = {
        (cell, seed): {task: np.array([True, False]) for task in "ab"}
        for cell, seed in ((PORT, 0), (BASE, None))
    }

    found = splits_of(rights, {0: set()}, names, num_draws=20)

    assert found.accuracy(PORT, "without_rows") is None
    assert found.share(PORT) is None
    interval = found.accuracy(PORT, "calibrated")
    assert interval is not None
    assert interval.value == 0.5


def test_intervals_hold_a_known_truth_over_new_tasks_people_and_seeds_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(7)
    num_tasks, num_people, seeds, trials = 24, 20, (0, 1, 2), 80
    names, tasks = tuple(map(str, range(num_people))), tuple(f"t{place}" for place in range(num_tasks))
    truths = {"accuracy": 0.6, "difference": 0.15, "share": 0.75}
    held = dict.fromkeys(truths, 0)
    for _ in range(trials):
        task, person = generator.normal(0, 0.1, num_tasks), generator.normal(0, 0.1, num_people)
        lead = generator.normal(0.15, 0.1, num_tasks)  # of the port over the control, task by task
        without = {seed: set(generator.permutation(tasks)[: num_tasks // 2]) for seed in seeds}
        rights = {(BASE, None): draw_rights(generator, tasks, 0.3 + task[:, None] + person)}
        for seed in seeds:
            luck = generator.normal(0, 0.02)
            is_seen = np.array([each not in without[seed] for each in tasks])
            port = 0.6 + luck + 0.1 * is_seen[:, None] + task[:, None] + person  # rises by .4 and by .3
            rights[PORT, seed] = draw_rights(generator, tasks, port)
            rights[CONTROL, seed] = draw_rights(generator, tasks, port - lead[:, None])
        found = splits_of(rights, without, names, num_draws=300)
        intervals = {
            "accuracy": found.accuracy(PORT, "without_rows"),
            "difference": found.difference(PORT, CONTROL),
            "share": found.share(PORT),
        }
        for name, interval in intervals.items():
            assert interval is not None
            assert interval.low is not None
            assert interval.high is not None
            held[name] += interval.low <= truths[name] <= interval.high

    # Noise of single answers counts for people, for tasks and for seeds: intervals err on the wide side.
    assert all(count / trials >= 0.9 for count in held.values()), held


def draw_rights(
    generator: np.random.Generator, tasks: tuple[str, ...], rate_TP: np.ndarray
) -> dict[str, np.ndarray]:
    """Answers that are right at these rates."""
    right_TP = generator.random(rate_TP.shape) < rate_TP
    return dict(zip(tasks, right_TP, strict=True))
