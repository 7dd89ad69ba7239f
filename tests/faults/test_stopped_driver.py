"""A driver that stands still loses its lease to another one, and commits nothing when it goes on."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from sweeps.launch.driver import run_study
from sweeps.store import lease
from sweeps.study.expand import Study
from tests.support.studies import Tables, assert_same, silent, tables_of, wait_for

pytestmark = pytest.mark.slow


def launch_elsewhere(study: Study, out: Path) -> None:
    """As a driver on another machine does it, whose processes cannot be looked up here."""
    lease.boot_id = lambda: "another machine"
    lease.socket.gethostname = lambda: "elsewhere"
    run_study(study, out, executor="local", console=silent())


def test_a_driver_that_stood_still_cannot_commit_after_another_has_taken_over(
    tiny_study: Study, unbroken: tuple[Path, Tables], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "0.05")
    monkeypatch.setattr(lease, "REMOTE_WATCH_S", 1.0)
    child = multiprocessing.get_context("fork").Process(target=launch_elsewhere, args=(tiny_study, tmp_path))
    child.start()
    wait_for(lambda: list(tmp_path.glob("packs/*/state/0*")), "a checkpoint")
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    try:
        outcome = run_study(tiny_study, tmp_path, executor="local", console=silent())
        written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.join()

    assert outcome.is_done
    assert child.exitcode == 1
    runs = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/**/*") if path.is_file()}
    assert runs == {path: when for path, when in written.items() if path in runs}
    assert not list(tmp_path.glob("packs/*/state"))
    assert_same(tables_of(tiny_study, tmp_path), unbroken[1])
