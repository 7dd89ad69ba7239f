"""Timings of peers that take turns in one process, and the ratios between them."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

REPEATS = 5


@dataclass(frozen=True)
class Ratio:
    """How many times as long `theirs` takes, median and range over turns, and the median seconds of both."""

    value: float
    low: float
    high: float
    ours_s: float
    theirs_s: float
    repeats: int


def take_turns(
    sides: Mapping[str, Callable[[], object]],
    *,
    repeats: int = REPEATS,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every side in each of `repeats` turns, in which the sides go one after the other.

    What disturbs the machine for longer than a turn disturbs them alike. The order is reversed in every other
    turn. `warm_up` turns before are not counted. `clock` may count the process's own time, for code that
    waits for nothing, on a machine that others use.
    """
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warm_up + repeats):
        names = list(sides) if turn % 2 == 0 else list(sides)[::-1]
        for name in names:
            started = clock()
            sides[name]()
            if turn >= warm_up:
                spent[name].append(clock() - started)
    return spent


def ratio(ours: list[float], theirs: list[float]) -> Ratio:
    """theirs / ours, turn by turn."""
    values = [their / our for our, their in zip(ours, theirs, strict=True)]
    return Ratio(
        statistics.median(values),
        min(values),
        max(values),
        statistics.median(ours),
        statistics.median(theirs),
        len(values),
    )


def peak_bytes() -> float:
    """The largest resident set of this process since the peak was last reset."""
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    ]
    return 1024.0 * float(line.split()[1])
