"""Loading: how long workers of a node wait until they have a base whose files are verified."""

import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from portal.bases.base import load_base
from portal.bases.files import resolve
from portal.config import BaseRef, DeviceKind
from portal.device import release_memory, wait_for_device
from portal.storage.atomic import sync
from sweeps.gpu_check.finding import Finding, at_most, skipped
from sweeps.gpu_check.processes import at_once, meet
from sweeps.gpu_check.rates import write_rate
from sweeps.gpu_check.shape import random_base
from sweeps.gpu_check.world import SOURCE, CheckWorld
from sweeps.store.output_folder import BaseRecords
from sweeps.worker.base_cache import BaseCache, verify_once

VERIFYING_BOUND = 1.3
"""Of the longest wait of several workers for a digest over that of one: one computes it, the others wait."""
LOADING_BOUND = 2.0
"""Of the longest time until one of several workers has a base over that of one."""
WRITING_BOUND = 1.5
"""Of the longest time in which one of several workers writes a file, over that of as many files by one."""
_WRITES = 3
"""Files that a worker writes, of which the fastest counts."""
_ROOM = 2
"""A disk must have room for so many copies of a base that is written only to be read."""


@dataclass(frozen=True)
class Lane:
    """Seconds until a worker knew that a base's files are the right ones, and, anew, until it also had it;
    bytes per second of files that it flushed to the disk.
    """

    verify_s: float
    load_s: float
    write_bytes_per_s: float


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
    for path in folder.rglob("*"):
        sync(path)  # or it would be written while other files are timed
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
    slowest = min(each.write_bytes_per_s for each in all_of_them)
    shared = one.write_bytes_per_s / (world.workers * slowest)
    what = f"{who} that writes as many files, writing to the disk"
    note = "checkpoints of several lanes hold each other up"
    yield at_most(what, shared, WRITING_BOUND, otherwise="WARN", note=note)


def _lanes(world: CheckWorld, ref: BaseRef, count: int) -> list[Lane]:
    """Of so many new processes, all beginning together."""
    records, token = world.scratch / "records", uuid.uuid4().hex
    work = partial(_lane, ref=ref, device=world.device_kind, records=records, token=token, out=world.out)
    return at_once(count, world.device_kind, work)


def _lane(number: int, *, ref: BaseRef, device: DeviceKind, records: Path, token: str, out: Path) -> Lane:
    """In a process of its own: what a worker does before its first step, and a checkpoint's file."""
    load_base(SOURCE)  # what it imports is no part of what is measured
    meet()
    started = time.perf_counter()
    verify_once(ref, BaseRecords(records), f"{token} verified")
    verified = time.perf_counter()
    meet()
    began = time.perf_counter()
    BaseCache().load(ref, device, BaseRecords(records), f"{token} loaded")  # as in a launch of its own
    wait_for_device()
    loaded = time.perf_counter()
    meet()
    return Lane(verified - started, loaded - began, max(write_rate(out) for _ in range(_WRITES)))
