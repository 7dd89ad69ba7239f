"""Schedules: exact on small cases, near the lower bound on the paper's study and on large ones."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.planning.schedule import Schedule, ScheduledPack, earliest_finish, lower_bound, play


def task(key: str, seconds: float, *needs: str, base: str = "b", load_s: float = 0.0) -> ScheduledPack:
    return ScheduledPack(key, seconds, (base,), needs, load_s)


def test_a_port_starts_when_its_source_has_ended_and_others_fill_the_gap() -> None:
    tasks = [task("source", 4), task("lora", 3), task("small", 1), task("port", 2, "source")]

    assert play([tasks, tasks]) == Schedule(6.0, 6.0, (6.0, 4.0))
    assert play([tasks]).makespan == 10


def test_bases_are_loaded_when_a_lane_changes_them() -> None:
    tasks = [task(key, 1, base=base, load_s=10) for key, base in (("a", "x"), ("b", "x"), ("c", "y"))]

    assert play([tasks]).makespan == 23
    assert play([[tasks[0], tasks[2], tasks[1]]]).makespan == 33
    assert play([tasks], start_s=5) == Schedule(28, 28, (23,))


def test_a_lane_that_waits_loads_what_comes_next() -> None:
    source = task("source", 30, base="x", load_s=10)
    port = task("port", 5, "source", base="y", load_s=20)

    assert play([[source, port]]).makespan == 65
    assert play([[source, port]] * 2) == Schedule(45, 45, (40, 25))
    assert lower_bound([source, port], 2) == 45


def test_what_a_long_chain_hangs_on_goes_first_and_a_base_stays_where_it_is_loaded() -> None:
    head, tail = task("head", 10), task("tail", 50, "head")
    fillers = [task(f"filler-{number}", 20) for number in range(3)]
    moved = [task(f"moved-{number}", 10, base="x", load_s=30) for number in range(2)]

    lanes = earliest_finish([*fillers, head, tail], 2)
    alone = earliest_finish([*moved, task("other", 50)], 2)

    assert [each.key for each in lanes[0][:2]] == ["head", "tail"]
    assert play(lanes) == Schedule(60, 60, (60, 60))
    assert [each.key for each in alone[1][:2]] == ["moved-0", "moved-1"]
    assert play(alone).makespan == 50


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

    for orders in ([tasks] * lanes, earliest_finish(tasks, lanes)):
        found = play(orders)

        assert all(sorted(map(str, order)) == sorted(map(str, tasks)) for order in orders)
        assert sum(found.busy) == pytest.approx(sum(seconds))
        assert found.lower_bound == pytest.approx(lower_bound(tasks, lanes))
        assert found.lower_bound <= found.makespan * (1 + 1e-9)
        assert found.makespan <= 2 * found.lower_bound * (1 + 1e-9)
