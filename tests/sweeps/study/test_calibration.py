"""Which tasks a port is calibrated on: named, or drawn by seed as nested sets."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.study.calibration import calibrated_tasks

TASKS = tuple(f"task-{index}" for index in range(12))


def drawn(
    wanted: int | float, seed: int = 0, tasks: tuple[str, ...] = TASKS, kinds: dict[str, str] | None = None
) -> tuple[str, ...]:
    found = calibrated_tasks(tasks, wanted, seed, kinds or {})
    assert found is not None
    return found


@given(st.integers(1, 10), st.integers(0, 2**31 - 1))
def test_fewer_tasks_are_among_more_of_the_same_seed(count: int, seed: int) -> None:
    assert set(drawn(count, seed)) < set(drawn(count + 1, seed))


def test_the_order_in_which_tasks_are_listed_draws_no_other_ones() -> None:
    shuffled = tuple(random.Random(0).sample(TASKS, len(TASKS)))

    again = drawn(5, tasks=shuffled)

    assert set(again) == set(drawn(5))
    assert list(again) == [task for task in shuffled if task in again]


def test_every_task_is_drawn_by_some_seed_and_seeds_differ() -> None:
    sets = {drawn(3, seed) for seed in range(40)}

    assert len(sets) > 20
    assert {task for each in sets for task in each} == set(TASKS)


@given(st.integers(1, 11), st.integers(0, 2**31 - 1))
def test_kinds_take_turns(count: int, seed: int) -> None:
    kinds = {task: "abc"[index % 3] for index, task in enumerate(TASKS)}

    counts = Counter({"a": 0, "b": 0, "c": 0})
    counts.update(kinds[task] for task in drawn(count, seed, kinds=kinds))

    assert max(counts.values()) - min(counts.values()) <= 1
    assert set(drawn(count, seed, kinds=kinds)) <= set(drawn(min(count + 1, 11), seed, kinds=kinds))


def test_tasks_of_one_kind_and_tasks_without_are_drawn_alike() -> None:
    assert drawn(5, kinds=dict.fromkeys(TASKS, "one")) == drawn(5)


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.25, 3), (0.5, 6), (0.9, 11)])
def test_a_share_is_rounded_to_a_number_of_tasks_and_never_to_none(share: float, count: int) -> None:
    assert drawn(share) == drawn(count)


@pytest.mark.parametrize("wanted", [None, 12, 1.0, TASKS])
def test_all_tasks_are_no_choice(wanted: int | float | tuple[str, ...] | None) -> None:
    assert calibrated_tasks(TASKS, wanted, 0, {}) is None


def test_named_tasks_come_in_the_studys_order() -> None:
    assert calibrated_tasks(TASKS, ("task-7", "task-2"), 0, {}) == ("task-2", "task-7")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (("task-2", "tusk-3"), "calibrate: the study has no task 'tusk-3'; did you mean 'task-3'?"),
        (13, "calibrate: 13 tasks, the study has 12"),
    ],
)
def test_what_the_study_does_not_have_is_refused(wanted: int | tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        calibrated_tasks(TASKS, wanted, 0, {})
    assert str(caught.value) == message
