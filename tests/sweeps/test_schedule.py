"""Schedules: exact on small cases, near the lower bound on the paper's study and on large ones."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.schedule import Schedule, Task, lower_bound, play


def task(key: str, seconds: float, *needs: str, bases: tuple[str, ...] = ("b",)) -> Task:
    return Task(key, seconds, bases, needs)


def test_a_port_starts_when_its_source_has_ended_and_others_fill_the_gap() -> None:
    tasks = [task("source", 4), task("lora", 3), task("small", 1), task("port", 2, "source")]

    assert play([tasks, tasks]) == Schedule(6.0, 6.0, (6.0, 4.0))
    assert play([tasks]).makespan == 10


def test_bases_are_loaded_when_a_lane_changes_them() -> None:
    tasks = [task("a", 1, bases=("x",)), task("b", 1, bases=("x",)), task("c", 1, bases=("y",))]

    assert play([tasks], load_s=10).makespan == 23
    assert play([[tasks[0], tasks[2], tasks[1]]], load_s=10).makespan == 33


def test_a_pack_that_waits_for_nothing_planned_is_refused() -> None:
    with pytest.raises(ValueError, match="pack port waits for source, which is not planned"):
        play([[task("port", 1, "source")]])


@given(
    seconds=st.lists(st.floats(0.1, 100), min_size=1, max_size=40),
    lanes=st.integers(1, 12),
    waits=st.randoms(use_true_random=False),
)
def test_a_schedule_does_all_the_work_within_grahams_bound(
    seconds: list[float], lanes: int, waits: random.Random
) -> None:
    tasks = [
        task(str(index), length, *([str(waits.randrange(index))] if index and waits.random() < 0.3 else []))
        for index, length in enumerate(seconds)
    ]

    found = play([tasks] * lanes)

    assert sum(found.busy) == pytest.approx(sum(seconds))
    assert found.lower_bound == lower_bound(tasks, lanes)
    assert found.lower_bound <= found.makespan * (1 + 1e-9)
    assert found.makespan <= 2 * found.lower_bound * (1 + 1e-9)
