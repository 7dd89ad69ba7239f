"""A folder has one driver; workers of a driver that is gone are fenced out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.store import lease
from sweeps.store.lease import Fence, LeaseLost, acquire, has_live_driver, read_holder

HOLD = """
import sys, time
from pathlib import Path
from sweeps.store.lease import acquire
lease = acquire(Path(sys.argv[1]))
print(lease.token, flush=True)
time.sleep(600)
"""


def hold_in_another_process(out: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_second_driver_on_the_host_of_the_first_is_told_at_once_who_holds_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, _ = hold_in_another_process(tmp_path)
    waits: list[float] = []
    monkeypatch.setattr(lease.time, "sleep", waits.append)
    try:
        with pytest.raises(ValueError, match=f"in use by process {process.pid} on"):
            acquire(tmp_path)
        assert waits == []
        assert has_live_driver(tmp_path)
    finally:
        process.kill()
        process.wait()


def test_a_dead_holders_lease_is_taken_over_and_its_workers_are_fenced_out(tmp_path: Path) -> None:
    process, token = hold_in_another_process(tmp_path)
    fence = Fence(tmp_path, token)
    fence.check()
    process.kill()
    process.wait()

    with pytest.raises(LeaseLost):
        fence.check()
    assert not has_live_driver(tmp_path)
    with acquire(tmp_path) as lease:
        assert lease.token != token
        Fence(tmp_path, lease.token).check()
        with pytest.raises(LeaseLost):
            fence.check()
    assert read_holder(tmp_path) == {}


def test_a_holder_on_another_host_is_alive_while_its_beat_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.02)
    monkeypatch.setattr(lease, "REMOTE_WATCH_S", 0.8)
    with acquire(tmp_path) as held:
        path = tmp_path / "driver.json"
        elsewhere = json.loads(path.read_text()) | {"host": "elsewhere", "boot_id": "x", "process_space": "y"}
        path.write_text(json.dumps(elsewhere))
        with pytest.raises(ValueError, match="on elsewhere"):
            acquire(tmp_path)
        Fence(tmp_path, held.token).check()
    path.write_text(json.dumps(elsewhere))
    acquire(tmp_path).release()
