"""How long processes of a node wait until a base's files are known to be the right ones: one, and eight."""

import multiprocessing
import os
import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

from portal.bases.files import resolve
from portal.bases.registry import MINI_FOLDER
from portal.config import BaseRef
from sweeps.store.output_folder import BaseRecords
from sweeps.worker.base_cache import verify_once

LANES = 8
TARGET = 1.3
"""Of the longest wait of eight processes over that of one."""
REPEATS = 3
SHARDS = (1, 4)
NUM_BYTES = 2**31
_CHUNK = 2**24
_MEETING_S = 300.0


@dataclass(frozen=True)
class Point:
    """Median seconds of one process and of the last of `lanes` for the digest of so many bytes in `files`."""

    num_bytes: int
    files: int
    lanes: int
    one_s: float
    all_s: float
    repeats: int

    @property
    def ratio(self) -> float:
        """Of the last of all over one."""
        return self.all_s / self.one_s


def digests() -> list[Point]:
    """A base of 2 GiB in one file and in four, from the page cache, by turns."""
    return [measure(NUM_BYTES, files) for files in SHARDS]


def measure(num_bytes: int, files: int, *, lanes: int = LANES, repeats: int = REPEATS) -> Point:
    """A base whose weights are so many random bytes in so many files."""
    with tempfile.TemporaryDirectory(prefix="portal-bench-") as scratch:
        folder = Path(scratch, "base")
        shutil.copytree(MINI_FOLDER / "mini-qwen3-xs", folder)
        for number in range(files):
            _fill(folder / f"part-{number}.safetensors", num_bytes // files)
        ref = resolve(str(folder))
        waits = [(_longest_wait(ref, 1, scratch), _longest_wait(ref, lanes, scratch)) for _ in range(repeats)]
    one_s, all_s = (median(own) for own in zip(*waits, strict=True))
    return Point(num_bytes, files, lanes, one_s, all_s, repeats)


def _fill(path: Path, num_bytes: int) -> None:
    with path.open("wb") as file:
        for _ in range(max(1, num_bytes // _CHUNK)):
            file.write(os.urandom(min(_CHUNK, num_bytes)))


def _longest_wait(ref: BaseRef, count: int, scratch: str) -> float:
    """Of so many new processes that begin together."""
    spawn, token = multiprocessing.get_context("spawn"), uuid.uuid4().hex
    barrier, answers = spawn.Barrier(count), spawn.SimpleQueue()
    workers = [
        spawn.Process(target=_wait, args=(ref, token, scratch, barrier, answers)) for _ in range(count)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a process that verifies ended in an error; it has printed it")
    return max(answers.get() for _ in workers)


def _wait(
    ref: BaseRef, token: str, scratch: str, barrier: Barrier, answers: "multiprocessing.SimpleQueue[float]"
) -> None:
    os.environ["PORTAL_CACHE"] = str(Path(scratch, "cache"))
    barrier.wait(_MEETING_S)
    started = time.perf_counter()
    verify_once(ref, BaseRecords(Path(scratch, "records")), token)
    answers.put(time.perf_counter() - started)
