"""A disk that is full, read-only or broken at any write: one line, nothing lost, and on it goes later."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.cli import main
from sweeps.launch.driver import run_study
from sweeps.study.expand import Study
from tests.support.counts import CHAOS, times
from tests.support.studies import Tables, assert_same, silent, tables_of

STEP = 1_500_000 // CHAOS if CHAOS else 5_000_000
"""Bytes by which the disk grows after each time that it was full."""
CODES = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
"""Errors that a flush may end in, by turns."""


pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={STEP}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def launch(study: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a launch ends with; empty where it ends well."""
    code = main(["sweep", "run", str(study), "--out", str(out), "--executor", "local"])
    printed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("portal: ")]
    if code == 0:
        return ""
    assert (code, len(printed)) == (2, 1), printed
    return printed[0]


def test_a_study_on_a_disk_that_fills_up_again_and_again_ends_as_an_unbroken_one(
    disk: Path,
    tiny_study: Study,
    study_path: Path,
    unbroken: tuple[Path, Tables],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "0.01")
    out, size, full = disk / "out", STEP, 0
    while said := launch(study_path, out, capsys):
        assert "No space left on device" in said
        assert str(disk) in said
        full += 1
        size += STEP
        assert size < 100_000_000
        subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)

    assert full >= times(2, nightly=6)
    assert_same(tables_of(tiny_study, out), unbroken[1])


def test_an_error_at_any_flush_is_one_line_and_the_study_goes_on_afterwards(
    tiny_study: Study,
    study_path: Path,
    unbroken: tuple[Path, Tables],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, flush, calls, failures = tmp_path / "out", os.fsync, 0, 0
    for at in range(1, 200, 2 if CHAOS else 31):
        calls, code = 0, CODES[failures % len(CODES)]

        def fail_once(descriptor: int, at: int = at, code: int = code) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                raise OSError(code, os.strerror(code))
            flush(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail_once)
            said = launch(study_path, out, capsys)
        if calls < at:
            break
        failures += 1
        assert str(out) in said
        assert os.strerror(code) in said
        assert ("bytes free" in said) is (code in (errno.ENOSPC, errno.EDQUOT))

    assert failures >= times(3, nightly=8)
    assert run_study(tiny_study, out, executor="local", console=silent()).is_done
    assert_same(tables_of(tiny_study, out), unbroken[1])
