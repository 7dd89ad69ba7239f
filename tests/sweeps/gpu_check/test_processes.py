"""Processes of a check are apart, meet when they are told to, and do not wait for one that has failed."""

import os
import time

import pytest
import torch

from sweeps.gpu_check.processes import MEETING_S, at_once, meet, own_gpu


def late(number: int) -> tuple[int, int, float, float]:
    """Its process and number of threads, and when it was ready and when all were."""
    time.sleep(0.5 * number)
    ready = time.time()
    meet()
    return os.getpid(), torch.get_num_threads(), ready, time.time()


def fail(number: int) -> None:
    """The second one does, while the first waits for it."""
    if number == 1:
        raise ValueError(f"process {number} has no room")
    meet()


@pytest.mark.slow
def test_processes_wait_for_the_last_one() -> None:
    found = at_once(2, "cpu", late)

    assert len({process for process, *_ in found} | {os.getpid()}) == 3
    assert [threads for _, threads, *_ in found] == [1, 1]
    assert min(met for *_, met in found) >= max(ready for _, _, ready, _ in found)


@pytest.mark.slow
def test_what_a_process_ends_in_is_raised_here_and_the_others_do_not_wait_for_it() -> None:
    started = time.monotonic()

    with pytest.raises(ValueError, match="process 1 has no room"):
        at_once(2, "cpu", fail)

    assert time.monotonic() - started < MEETING_S / 10


@pytest.mark.parametrize(
    ("visible", "number", "own"), [(None, 1, "1"), ("4,6", 1, "6"), ("GPU-ab,GPU-cd", 0, "GPU-ab")]
)
def test_each_process_has_a_gpu_of_those_that_this_one_sees(
    visible: str | None, number: int, own: str
) -> None:
    assert own_gpu(visible, number) == own
