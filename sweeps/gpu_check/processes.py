"""Work that several processes do at once, as a node's lanes do: each with a GPU of its own, or a core."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from typing import TypeVar

import torch

from portal.config import DeviceKind

MEETING_S = 1800.0
"""Seconds after which a process that the others wait for is taken to hang."""
_Result = TypeVar("_Result")
_barrier: Barrier | None = None  # of a worker's process: where all of them meet


def at_once(count: int, kind: DeviceKind, work: Callable[[int], _Result]) -> list[_Result]:
    """What `work(number)` gives in so many new processes of one thread, by their number.

    `work` may have them `meet`. What one of them ends in is raised here, as soon as the others know.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        count, mp_context=spawn, initializer=_meet_at, initargs=(spawn.Barrier(count),)
    ) as pool:
        found = [pool.submit(_begin, number, kind, work) for number in range(count)]
        errors = [error for each in found if (error := each.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, BrokenBarrierError)):
        raise error  # the cause before those that waited for it
    return [each.result() for each in found]


def meet() -> None:
    """Wait, in such a process, until all of them are here."""
    _met().wait(MEETING_S)


def own_gpu(visible: str | None, number: int) -> str:
    """What CUDA_VISIBLE_DEVICES is for the process of that number where this one's is `visible`."""
    return visible.split(",")[number] if visible else str(number)


def _met() -> Barrier:
    assert _barrier is not None, "the process pool has given it"
    return _barrier


def _meet_at(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _begin(number: int, kind: DeviceKind, work: Callable[[int], _Result]) -> _Result:
    try:
        if kind == "cuda":
            os.environ["CUDA_VISIBLE_DEVICES"] = own_gpu(os.environ.get("CUDA_VISIBLE_DEVICES"), number)
            torch.zeros(1, device="cuda")  # its context, which is no part of what is timed
        torch.set_num_threads(1)
        return work(number)
    except BaseException:
        _met().abort()  # the others must not wait for this one
        raise
