"""Loading: how long workers of a node wait until they have a base whose files are verified."""

import multiprocessing
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from portal.bases.base import load_base
from portal.bases.files import resolve
from portal.config import BaseRef
from portal.device import release_memory, wait_for_device
from sweeps.gpu_check.finding import Finding, at_most, skipped
from sweeps.gpu_check.shape import random_base
from sweeps.gpu_check.world import SOURCE, CheckWorld
from sweeps.store.base_records import BaseRecords
from sweeps.worker.base_cache import BaseCache, verify_once

MEETING_S = 300.0
"""Seconds after which a process that the others wait for is taken to be lost."""
VERIFYING_BOUND = 1.3
"""Of the longest wait of several workers for a digest over that of one: one computes it, the others wait."""
LOADING_BOUND = 2.0
"""Of the longest time until one of several workers has a base over that of one."""
_ROOM = 2
"""A disk must have room for so many copies of a base that is written only to be read."""
_barrier: Barrier | None = None  # of a worker's process: where all of them begin


@dataclass(frozen=True)
class Lane:
    """Seconds until a worker knew that a base's files are the right ones, and, anew, until it also had it."""

    verify_s: float
    load_s: float


def check_loading(world: CheckWorld) -> Iterator[Finding]:
    """The base whose steps are timed, loaded by one process, then by several at once, from the page cache."""
    what = f"{world.timed}: loading"
    if not world.is_random:
        load_base(world.timed)  # what is fetched now need not be fetched below
        release_memory()
        yield from _compare(world, resolve(world.timed))
        return
    base = random_base(world.timed, world.device)
    num_bytes = sum(each.nbytes for each in base.model.parameters())
    if shutil.disk_usage(world.scratch).free < _ROOM * num_bytes:
        yield skipped(what, f"no room for its {num_bytes / 1e9:.1f} GB in {world.scratch.parent}")
        return
    folder = world.scratch / "loading"
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    del base
    release_memory()
    yield from _compare(world, resolve(str(folder)))
    shutil.rmtree(folder)


def _compare(world: CheckWorld, ref: BaseRef) -> Iterator[Finding]:
    (one,) = _lanes(world, ref, 1)
    yield Finding("PASS", f"{world.timed}: digest of its files", one.verify_s, "s")
    yield Finding("PASS", f"{world.timed}: loading and verifying it", one.load_s, "s")
    if world.workers == 1:
        yield skipped(f"{world.timed}: several workers over one", world.lone_worker)
        return
    all_of_them = _lanes(world, ref, world.workers)
    verified = max(each.verify_s for each in all_of_them) / one.verify_s
    loaded = max(each.load_s for each in all_of_them) / one.load_s
    who = f"{world.timed}: {world.workers} workers over one"
    yield at_most(f"{who}, waiting for the digest", verified, VERIFYING_BOUND, otherwise="WARN")
    note = "the disk, or the CPU cores beside the GPUs, hold them up"
    yield at_most(f"{who}, loading and verifying", loaded, LOADING_BOUND, otherwise="WARN", note=note)


def _lanes(world: CheckWorld, ref: BaseRef, count: int) -> list[Lane]:
    """So many new processes, each with a GPU of its own where there are any, all beginning together."""
    spawn, token = multiprocessing.get_context("spawn"), uuid.uuid4().hex
    with ProcessPoolExecutor(
        count, mp_context=spawn, initializer=_meet_at, initargs=(spawn.Barrier(count),)
    ) as pool:
        lanes = [
            pool.submit(_lane, ref, world.device_kind, world.scratch / "records", token, number)
            for number in range(count)
        ]
        return [lane.result() for lane in lanes]


def _meet_at(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _lane(ref: BaseRef, device: str, records: Path, token: str, number: int) -> Lane:
    """In a process of its own: what a worker of a study does before its first step."""
    if device == "cuda":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number] if visible else str(number)
        torch.cuda.init()
    torch.set_num_threads(1)
    load_base(SOURCE)  # what it imports is no part of what is measured
    assert _barrier is not None, "the process pool has given it"
    _barrier.wait(MEETING_S)
    started = time.perf_counter()
    verify_once(ref, BaseRecords(records), f"{token} verified")
    verified = time.perf_counter()
    _barrier.wait(MEETING_S)
    began = time.perf_counter()
    BaseCache().load(ref, device, BaseRecords(records), f"{token} loaded")  # as in a launch of its own
    wait_for_device()
    return Lane(verified - started, time.perf_counter() - began)
