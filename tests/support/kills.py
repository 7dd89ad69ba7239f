"""Kills of a study that is at work, at moments that its own progress sets: as many on any machine."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from sweeps.study.expand import Study
from tests.support.studies import PATIENCE_S

POLL_S = 0.005


def kill_and_end(
    launch: Callable[[Study, Path], None], study: Study, out: Path, *, kills: int, seed: int = 0
) -> int:
    """Launch the study in a child until it has ended by itself; the number of kills on the way.

    Each of the first `kills` launches is killed with SIGKILL up to 0.1 s after something was kept
    that was not there at its start: a checkpoint or an ended run. So every launch keeps something,
    and the study ends on a slow machine too; on a fast one it may end in 0.1 s, before its last kills.
    """
    moments = random.Random(seed)
    for kill in range(kills):
        if not _is_killed(launch, study, out, delay_s=moments.uniform(0, 0.1)):
            return kill
    child = _start(launch, study, out)
    child.join()
    assert child.exitcode == 0
    return kills


def _is_killed(launch: Callable[[Study, Path], None], study: Study, out: Path, *, delay_s: float) -> bool:
    """Whether a launch was killed; False where it had ended by itself."""
    before = _kept(out)
    child = _start(launch, study, out)
    deadline = time.monotonic() + PATIENCE_S
    while child.is_alive() and _kept(out) <= before:
        assert time.monotonic() < deadline, "waited in vain for a checkpoint or an ended run"
        time.sleep(POLL_S)
    child.join(delay_s)
    if child.is_alive():
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def _start(launch: Callable[[Study, Path], None], study: Study, out: Path) -> multiprocessing.Process:
    child = multiprocessing.get_context("fork").Process(target=launch, args=(study, out))
    child.start()
    return child


def _kept(out: Path) -> set[Path]:
    return {*out.glob("packs/*/state/*/manifest.json"), *out.glob("runs/*/DONE.json")}
