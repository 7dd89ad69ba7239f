"""Digests of files."""

import hashlib
import threading
from pathlib import Path

import pytest

from portal.storage import paths
from portal.storage.paths import HASHED_AT_ONCE, files_sha256


def test_several_files_are_hashed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / f"shard-{number}" for number in range(HASHED_AT_ONCE)]
    meeting, digest = threading.Barrier(HASHED_AT_ONCE, timeout=20), paths.file_sha256
    for file in files:
        file.write_text(file.name)

    def wait_for_the_others(path: Path) -> str:
        meeting.wait()
        return digest(path)

    monkeypatch.setattr(paths, "file_sha256", wait_for_the_others)

    assert files_sha256(files) == [hashlib.sha256(file.name.encode()).hexdigest() for file in files]
    assert HASHED_AT_ONCE == 4
