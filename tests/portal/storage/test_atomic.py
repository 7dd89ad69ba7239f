"""A link names a new target at once: who reads it meets the old one or the new one."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from portal.storage.atomic import aside, read_replaced, replace_link


def test_a_link_is_replaced_whole_and_moves_with_its_folder(tmp_path: Path) -> None:
    place = tmp_path / "out" / "artifact"
    for name in ("first", "second"):
        (tmp_path / "out" / "runs" / name).mkdir(parents=True)
        (tmp_path / "out" / "runs" / name / "file").write_text(name)

    replace_link(place, tmp_path / "out" / "runs" / "first")
    before = (place / "file").read_text()
    replace_link(place, tmp_path / "out" / "runs" / "second")
    (tmp_path / "out").rename(tmp_path / "moved")

    assert before == "first"
    assert (tmp_path / "moved" / "artifact" / "file").read_text() == "second"
    assert sorted(path.name for path in (tmp_path / "moved").iterdir()) == ["artifact", "runs"]


def test_a_file_that_is_replaced_while_it_is_read_over_nfs_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = tmp_path / "beat", Path.read_bytes
    with pytest.raises(FileNotFoundError):
        read_replaced(path)
    path.write_bytes(b"5")
    for stale in (0, 3, 100):
        tries: list[Path] = []

        def replaced(path: Path, stale: int = stale, tries: list[Path] = tries) -> bytes:
            tries.append(path)
            if len(tries) <= stale:
                raise OSError(errno.ESTALE, "Stale file handle")
            return read(path)

        monkeypatch.setattr(Path, "read_bytes", replaced)
        if stale == 100:
            with pytest.raises(OSError, match="Stale file handle"):
                read_replaced(path)
        else:
            assert read_replaced(path) == b"5"
            assert len(tries) == stale + 1


def test_two_programs_never_write_under_one_temporary_name(tmp_path: Path) -> None:
    """Processes of two containers may have one number."""
    code = "import os; os.getpid = lambda: 7; import pathlib; from portal.storage.atomic import aside; "
    command = [sys.executable, "-c", code + "print(aside(pathlib.Path('bases/x.json')))"]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )

    assert first != second
    assert first.startswith("bases/.x.json.7-")
    assert aside(tmp_path / "x") == aside(tmp_path / "x")
    assert aside(tmp_path / "x").match(".*.tmp")
