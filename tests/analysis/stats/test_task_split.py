"""Tasks without a row beside calibrated ones: intervals by hand, as often right as they say, and curves."""

from collections.abc import Mapping

import numpy as np
import pytest

from analysis.stats.aggregate import select_epochs
from analysis.stats.answers import Answers, TaskAnswers
from analysis.stats.bootstrap import Chosen, ClusterDraws, draw_tasks, interval_of
from analysis.stats.result_table import Cell, Cost, MethodKey, Run, Score
from analysis.stats.task_split import (
    SplitBootstrap,
    TaskSplit,
    bootstrap_splits,
    controls_of,
    curves_beside,
    curves_over_rows,
    curves_over_tasks,
    leading_split,
    split_tasks,
)
from tests.support.result_tables import known, limits, row, study_of

BASE = {"a": 0.2, "b": 0.4, "c": 0.3}


def run_rows(
    key: str, seed: int, scores: dict[str, float], without: str, *, epoch: int = 2, split: str = "test"
) -> list[dict]:
    return [
        row(run=key, method="portal", seed=seed, size=4, task=task, acc_norm=acc, epoch=epoch, split=split,
            calibrated=task not in without)
        for task, acc in scores.items()
    ]  # fmt: skip


def base_rows(scores: dict[str, float] = BASE) -> list[dict]:
    return [row(run="base", task=task, acc_norm=acc) for task, acc in scores.items()]


def only(rows: list[dict]) -> TaskSplit:
    (split,) = split_tasks(study_of(rows), "big")
    return split


def test_each_group_is_compared_with_the_base_on_its_own_tasks_of_each_seed() -> None:
    split = only(
        [
            *base_rows(),
            *run_rows("p0", 0, {"a": 0.8, "b": 0.6, "c": 0.5}, without="bc"),
            *run_rows("p1", 1, {"a": 0.6, "b": 0.9, "c": 0.7}, without="a"),
        ]
    )

    assert split.calibrated.acc.values == pytest.approx((0.8, 0.8))
    assert split.calibrated.base_acc.values == pytest.approx((0.2, 0.35))
    assert split.without_rows.acc.values == pytest.approx((0.55, 0.6))
    assert split.without_rows.base_acc.values == pytest.approx((0.35, 0.2))
    assert split.without_rows.num_tasks.values == (2, 1)
    assert split.share.value == pytest.approx((0.575 - 0.275) / (0.8 - 0.275))


def test_a_share_that_means_nothing_is_left_out_with_the_reason_and_all_tasks_are_no_split() -> None:
    no_score = "no score of the frozen base on the same tasks"
    for base, reason in (
        ({}, no_score),
        ({"a": 0.2, "b": 0.4}, no_score),
        ({"a": 0.9, "b": 0.4, "c": 0.3}, "the calibrated tasks do not rise above the frozen base"),
    ):
        rows = [*base_rows(base), *run_rows("p0", 0, {"a": 0.8, "b": 0.6, "c": 0.5}, without="bc")]
        assert (only(rows).share.value, only(rows).share.reason) == (None, reason)
    assert split_tasks(study_of([*base_rows(), *run_rows("p0", 0, BASE, without="")]), "big") == ()


def test_tasks_without_a_row_do_not_vote_for_the_epoch() -> None:
    rows = [
        line
        for epoch, seen, unseen in ((1, 0.9, 0.1), (2, 0.8, 0.9))
        for split in ("validation", "test")
        for line in run_rows("p0", 0, {"a": seen, "b": unseen}, without="b", epoch=epoch, split=split)
    ]

    assert select_epochs(study_of(rows).runs[0], "best_on_validation") == {"a": 1, "b": 1}


def splits_of(*runs: tuple[str, str, int, int, str]) -> dict[str, TaskSplit]:
    """Splits by label of runs (method, label, seed, size, tasks without a row), all as good as each other."""
    rows = base_rows(dict.fromkeys("abcdefgh", 0.2))
    for method, label, seed, size, without in runs:
        rows += [
            row(run=f"{label}{seed}{size}", method=method, label=label, seed=seed, size=size, task=task,
                calibrated=task not in without)
            for task in "abcdefgh"
        ]  # fmt: skip
    splits = split_tasks(study_of(rows), "big")
    return {f"{split.cell.variant.name} {split.cell.size}": split for split in splits}


def test_a_control_saw_the_same_rows_of_the_same_tasks_in_every_seed() -> None:
    splits = splits_of(
        ("portal", "half", 0, 4, "abcd"),
        ("portal", "half", 1, 4, "efgh"),
        ("mean_latent", "mean", 0, 4, "abcd"),
        ("mean_latent", "mean", 1, 4, "efgh"),
        ("mean_latent", "mean", 0, 8, "abcd"),
        ("shared_lora", "shared", 1, 4, "efgh"),
        ("shared_lora", "others", 0, 4, "abcd"),
        ("shared_lora", "others", 1, 4, "abcd"),
    )

    found = controls_of(splits["half 4"], list(splits.values()))

    assert {split.cell.variant.name for split in found} == {"mean", "shared"}
    assert {split.cell.size for split in found} == {4}


def test_a_report_leads_with_half_of_the_tasks_and_most_rows_whatever_the_scores_are() -> None:
    splits = splits_of(
        ("portal", "quarter", 0, 16, "abcdef"),
        ("portal", "half", 0, 4, "abcd"),
        ("portal", "half", 0, 8, "abcd"),
        ("portal", "all", 0, 16, ""),
        ("shared_lora", "shared", 0, 16, "abcd"),
        ("carried", "described", 0, 0, "abcdefgh"),
    )

    assert leading_split(list(splits.values())) == splits["half 8"]
    assert splits["all 16"].num_calibrated == splits["all 16"].num_tasks == 8
    assert splits["all 16"].share.reason == "every task gave rows"
    assert splits["described 0"].is_partial  # and never leads: no task gave a row
    assert leading_split([splits["described 0"]]) is None


def test_splits_are_read_at_the_epoch_that_a_run_keeps() -> None:
    trained = {"keeps_best": True, "num_examples": 10}
    rows = base_rows({"a": 0.2, "b": 0.2}) + [
        {**line, **trained, "kept": epoch == 1, "train_rows": 0 if line["task"] == "b" else 4}
        for epoch, acc in ((1, 0.8), (2, 0.5))
        for split in ("validation", "test")
        for line in run_rows("p0", 0, {"a": acc, "b": acc}, without="b", epoch=epoch, split=split)
    ]

    assert only(rows).without_rows.acc.mean == 0.8
    assert only(rows).rows.mean == 4 + 10  # the validation rows of the calibrated task chose the epoch


PORT, CONTROL, BASE_RATE = (
    Cell("big", MethodKey(method, method, None, None, None), size)
    for method, size in (("portal", 4), ("shared_lora", 4), ("base", None))
)
Rights = Mapping[tuple[Cell, int | None], Mapping[str, np.ndarray]]
"""By cell and seed, then by task, which rows are answered rightly."""


def bootstrapped(
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
    rates = {PORT: 0.9, CONTROL: 0.6, BASE_RATE: 0.1}
    rights = {
        (cell, seed): {task: generator.random(len(names)) < rates[cell] for task in tasks}
        for cell in rates
        for seed in ((None,) if cell == BASE_RATE else (0, 1))
    }

    found = bootstrapped(rights, without, names, num_draws=num_draws)

    person = ClusterDraws(names, num_draws, 0).sums(np.eye(len(names)))
    of_seeds = np.random.default_rng((0, 2)).multinomial(2, [0.5, 0.5], size=num_draws) / 2

    def mean(cell: Cell, is_without: bool, draw: int | None) -> float:
        """Undrawn, or with what a draw of people, of tasks and of seeds changes each alone."""
        total = 0.0
        for place, seed in enumerate((0, 1)):
            group = [task for task in tasks if (task in without[seed]) == is_without]
            own = rights[cell, None if cell == BASE_RATE else seed]
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
        for is_without, group in ((False, "calibrated"), (True, "without_rows")):
            draws, base = (
                np.array([mean(each, is_without, draw) for draw in range(num_draws)])
                for each in (cell, BASE_RATE)
            )
            point, base_point = mean(cell, is_without, None), mean(BASE_RATE, is_without, None)
            for interval, expected in (
                (found.accuracy(cell, group), interval_of(point, draws)),
                (found.rise_of(cell, group), interval_of(point - base_point, draws - base)),
            ):
                assert known(interval).value == pytest.approx(expected.value)
                assert limits(interval) == pytest.approx(limits(expected))
    ahead = [mean(PORT, True, d) - mean(CONTROL, True, d) for d in range(num_draws)]
    shares = [
        (mean(PORT, True, d) - mean(BASE_RATE, True, d)) / (mean(PORT, False, d) - mean(BASE_RATE, False, d))
        for d in range(num_draws)
    ]
    for interval, drawn in ((found.difference(PORT, CONTROL), ahead), (found.share(PORT), shares)):
        assert limits(interval) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_without_a_clear_rise_or_another_group_there_is_no_share() -> None:
    generator, names = np.random.default_rng(0), tuple(map(str, range(10)))
    rights = {
        (cell, seed): {task: generator.random(10) < 0.5 for task in "abcd"}
        for cell, seed in ((PORT, 0), (BASE_RATE, None))
    }

    share = known(bootstrapped(rights, {0: {"a", "b"}}, names, num_draws=200).share(PORT))
    every = bootstrapped(rights, {0: set()}, names, num_draws=20)

    assert share.low is None
    assert share.reason == "the rise on the calibrated tasks is not clearly positive"
    assert every.accuracy(PORT, "without_rows") is every.share(PORT) is None
    right = np.mean([own.mean() for own in rights[PORT, 0].values()])
    assert known(every.accuracy(PORT, "calibrated")).value == pytest.approx(right)


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
        rights = {(BASE_RATE, None): draw_rights(generator, tasks, 0.3 + task[:, None] + person)}
        for seed in seeds:
            luck = generator.normal(0, 0.02)
            is_seen = np.array([each not in without[seed] for each in tasks])
            port = 0.6 + luck + 0.1 * is_seen[:, None] + task[:, None] + person  # rises by .4 and by .3
            rights[PORT, seed] = draw_rights(generator, tasks, port)
            rights[CONTROL, seed] = draw_rights(generator, tasks, port - lead[:, None])
        found = bootstrapped(rights, without, names, num_draws=300)
        for name, interval in (
            ("accuracy", found.accuracy(PORT, "without_rows")),
            ("difference", found.difference(PORT, CONTROL)),
            ("share", found.share(PORT)),
        ):
            low, high = limits(interval)
            held[name] += low <= truths[name] <= high

    # Noise of single answers counts for people, for tasks and for seeds: intervals err on the wide side.
    assert all(count / trials >= 0.9 for count in held.values()), held


def draw_rights(
    generator: np.random.Generator, tasks: tuple[str, ...], rate_TP: np.ndarray
) -> dict[str, np.ndarray]:
    """Answers that are right at these rates."""
    right_TP = generator.random(rate_TP.shape) < rate_TP
    return dict(zip(tasks, right_TP, strict=True))


def test_settings_with_as_many_calibrated_tasks_are_curves_of_their_own_and_one_size_is_none() -> None:
    two = [("portal", label, 0, size, "efgh") for label in ("fast", "slow") for size in (2, 8)]
    control, other = ("shared_lora", "shared", 0, 2, "efgh"), ("portal", "one", 0, 2, "bcdefgh")
    sized, of_one_size = (splits_of(*runs) for runs in (two, (two[0], control, other)))
    (panel,) = curves_over_rows([*sized.values()])

    assert [(curve.variant.name, curve.places) for curve in panel.curves] == [
        ("fast", (2, 8)),
        ("slow", (2, 8)),
    ]
    assert curves_over_tasks([*sized.values()]) == curves_over_rows([*of_one_size.values()]) == ()
    beside = curves_beside(of_one_size["fast 2"], [*of_one_size.values()])  # a port and its control
    assert [curve.variant.name for curve in beside.curves] == ["fast", "shared"]
