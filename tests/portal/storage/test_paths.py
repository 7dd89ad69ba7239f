"""Digests of files."""

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from portal.storage.paths import HASHED_AT_ONCE, files_sha256


def feed(pipes: Sequence[Path]) -> bool:
    """Write each named pipe's name into it; whether all of them were open for reading at the same time."""
    waiting, ends = list(pipes), dict[Path, int]()
    deadline = time.monotonic() + 10
    while waiting and time.monotonic() < deadline:
        try:
            ends[waiting[0]] = os.open(waiting[0], os.O_WRONLY | os.O_NONBLOCK)  # fails until someone reads
            del waiting[0]
        except OSError:
            time.sleep(0.01)
    for pipe in pipes:
        with os.fdopen(ends[pipe], "wb") if pipe in ends else pipe.open("wb") as file:
            file.write(pipe.name.encode())
    return not waiting


def test_several_files_are_hashed_at_once(tmp_path: Path) -> None:
    pipes = [tmp_path / f"shard-{number}" for number in range(HASHED_AT_ONCE)]
    for pipe in pipes:
        os.mkfifo(pipe)

    with ThreadPoolExecutor(1) as pool:
        fed = pool.submit(feed, pipes)
        found = files_sha256(pipes)

    assert found == [hashlib.sha256(pipe.name.encode()).hexdigest() for pipe in pipes]
    assert fed.result()
    assert HASHED_AT_ONCE == 4
