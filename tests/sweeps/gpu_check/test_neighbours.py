"""Steps of processes beside each other are held to one's; they meet, and wait for none that has failed."""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import torch

from portal.bases.files import resolve
from portal.config import DeviceKind
from portal.device import usable_cores
from portal.storage.atomic import write_json_atomic
from sweeps.gpu_check import neighbours
from sweeps.gpu_check.finding import Finding
from sweeps.gpu_check.neighbours import MEETING_S, Steps, Times, at_once, check_neighbours, meet, own_gpu
from sweeps.planning.devices import plain_cpu
from tests.support.findings import quick_step_times


def steps_on_xs(kind: DeviceKind = "cpu", *, is_random: bool = True) -> Steps:
    """One row of each task, on two cores."""
    return Steps(resolve("mini-qwen3-xs"), kind, is_random, batch=1, device=plain_cpu(1).shared_by(2))


Check = Callable[[DeviceKind, list[Times]], tuple[tuple[Finding, ...], float]]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Check:
    """What is found where workers on such devices take these times."""

    def found(kind: DeviceKind, times: list[Times]) -> tuple[tuple[Finding, ...], float]:
        monkeypatch.setattr(neighbours, "at_once", lambda *_: times)
        return check_neighbours(steps_on_xs(kind), len(times))

    return found


def test_workers_that_take_much_from_each_other_are_found(check: Check) -> None:
    """One alone takes two seconds in the mean."""
    for second, level in ((2.6, "PASS"), (3.4, "WARN")):
        (line, losses), ratio = check("cpu", [Times((1.9, 2.1), 2.0, 3.5), Times((), second, 3.5)])

        assert line.what == "mini-qwen3-xs: a step of 2 workers at once over one's"
        assert (line.level, line.value) == (level, ratio)
        assert ratio == pytest.approx((2.0 + second) / 4)
        assert (losses.level, losses.value) == ("PASS", 0.0)


def test_a_gpu_that_is_slow_among_eight_is_found(check: Check) -> None:
    """The mean of all of them would be within the bound."""
    others = [Times((), 2.0 if number == 5 else 1.0, 3.5) for number in range(1, 8)]

    (line, _), ratio = check("cuda", [Times((1.0, 1.0), 1.0, 3.5), *others])

    assert line.what == "mini-qwen3-xs: a step of the slowest of 8 workers at once over one's"
    assert (line.level, line.value, ratio) == ("WARN", 2.0, 2.0)
    assert line.note == "GPU 5 is slow, or CPU cores are too few for all"


def test_a_worker_that_computes_something_else_is_found(check: Check) -> None:
    found: list[tuple[DeviceKind, float, str]]
    found = [("cuda", 3.51, "PASS"), ("cuda", 3.55, "FAIL"), ("cpu", 3.5, "PASS"), ("cpu", 3.5001, "FAIL")]
    for kind, loss, level in (*found, ("cuda", math.nan, "FAIL")):
        (_, line), _ = check(kind, [Times((1.0, 1.0), 1.0, 3.5), Times((), 1.0, loss)])

        assert line.what == "mini-qwen3-xs: losses of the same step by 2 workers, apart"
        assert line.level == level
        assert (line.note == "") == (level == "PASS")


def met_and_timed(number: int, *, folder: Path) -> None:
    """The second process comes late, and fails while the first waits for it; each writes what it saw."""
    time.sleep(0.5 * number)
    ready = time.time()
    meet()
    met = time.time()
    times = asdict(quick_step_times(number, steps=steps_on_xs(is_random=False)))
    seen = {"process": os.getpid(), "threads": torch.get_num_threads(), "ready": ready, "met": met, **times}
    write_json_atomic(folder / f"{number}.json", seen)
    if number == 1:
        raise ValueError(f"process {number} has no room")
    meet()


@pytest.mark.slow
@pytest.mark.skipif(usable_cores() < 2, reason="two workers need two cores")
def test_two_processes_wait_for_the_last_one_and_time_their_steps_and_none_waits_for_one_that_has_failed(
    tmp_path: Path,
) -> None:
    started = time.monotonic()

    with pytest.raises(ValueError, match="process 1 has no room"):
        at_once(2, "cpu", partial(met_and_timed, folder=tmp_path))

    assert time.monotonic() - started < MEETING_S / 10
    first, second = (json.loads((tmp_path / f"{number}.json").read_text()) for number in range(2))
    assert len({first["process"], second["process"], os.getpid()}) == 3
    assert (first["threads"], second["threads"]) == (1, 1)
    assert min(first["met"], second["met"]) >= max(first["ready"], second["ready"])
    assert (len(first["alone"]), len(second["alone"])) == (2, 0)
    assert min(*first["alone"], first["together"], second["together"]) > 0.001
    assert 0.1 < first["loss"] == second["loss"]


def test_each_process_has_a_gpu_of_those_that_this_one_sees() -> None:
    assert (own_gpu(None, 1), own_gpu("4,6", 1), own_gpu("GPU-ab,GPU-cd", 0)) == ("1", "6", "GPU-ab")
