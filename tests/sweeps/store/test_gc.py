"""Garbage is what a driver that is gone has left; a live driver's files are not."""

from pathlib import Path

import pytest

from portal.cli import main
from portal.storage.atomic import write_json_atomic
from sweeps.store.gc import delete_garbage, find_garbage
from sweeps.store.lease import TAKEOVERS, acquire
from sweeps.store.session import SESSION_FOLDERS, Session, request_stop

TOKEN, PACK, RUN = "0" * 16, "1" * 16, "2" * 16


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with every kind of file that a driver has only for itself, one of them half written."""
    session = Session(tmp_path, TOKEN)
    session.claim(PACK, 0, "a")
    request_stop(tmp_path, [RUN])
    session.write_progress(0, {"loss": 1.0})
    (tmp_path / "scratch" / TOKEN).mkdir(parents=True)
    write_json_atomic(tmp_path / TAKEOVERS / TOKEN / "000000", {"token": TOKEN})
    (tmp_path / "runs" / RUN).mkdir(parents=True)
    (tmp_path / "runs" / RUN / ".run.json.77.tmp").write_text("{")
    return tmp_path


def test_what_a_dead_driver_has_left_is_garbage_and_is_deleted_with_its_folders(out: Path) -> None:
    half = out / "runs" / RUN / ".run.json.77.tmp"
    left = {out / name for name in (*SESSION_FOLDERS, TAKEOVERS)} | {half}

    assert left == {each.path for each in find_garbage(out)}
    assert left == {each.path for each in delete_garbage(out)}
    assert find_garbage(out) == []
    assert half.parent.is_dir()


def test_what_a_live_driver_needs_is_not_garbage(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with acquire(out):
        assert find_garbage(out) == []
        assert main(["sweep", "gc", str(out)]) == 0

    assert "nothing to delete" in capsys.readouterr().out
