import json
import subprocess
import sys
import time

import pytest

from sweeps.store.lease import Fence, LeaseLost, acquire, has_live_driver, read_holder
from sweeps.store.run_store import ClaimLost, Store, check_writable, pack_key

KEY, PACK, TOKEN = "0" * 16, "1" * 16, "2" * 16

HOLD = """
import sys, time
from pathlib import Path
from sweeps.store.lease import acquire
lease = acquire(Path(sys.argv[1]))
print(lease.token, flush=True)
time.sleep(60)
"""


def hold_in_another_process(out):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def test_a_second_driver_is_told_who_holds_the_folder(tmp_path):
    process, _ = hold_in_another_process(tmp_path)
    try:
        started = time.monotonic()
        with pytest.raises(ValueError, match=f"in use by process {process.pid} on"):
            acquire(tmp_path)
        assert time.monotonic() - started < 5
        assert has_live_driver(tmp_path)
    finally:
        process.kill()
        process.wait()


def test_a_dead_holders_lease_is_taken_over_and_its_workers_are_fenced_out(tmp_path):
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


def test_a_holder_on_another_host_is_alive_while_its_beat_moves(tmp_path):
    with acquire(tmp_path) as lease:
        path = tmp_path / "driver.json"
        elsewhere = {
            **json.loads(path.read_text()),
            "host": "elsewhere",
            "boot_id": "x",
            "process_space": "y",
        }
        path.write_text(json.dumps(elsewhere))
        with pytest.raises(ValueError, match="on elsewhere"):
            acquire(tmp_path)
        Fence(tmp_path, lease.token).check()
    path.write_text(json.dumps(elsewhere))
    acquire(tmp_path).release()


def test_a_pack_belongs_to_one_lane_and_to_its_latest_attempt(tmp_path):
    store = Store(tmp_path)

    first = store.claim(TOKEN, PACK, 0, "a")
    assert store.claim(TOKEN, PACK, 1, "b") is None
    again = store.claim(TOKEN, PACK, 0, "c")

    again.check()
    with pytest.raises(ClaimLost):
        first.check()


def test_a_lost_pack_is_free_once_more_and_then_given_up(tmp_path):
    store = Store(tmp_path)
    store.claim(TOKEN, PACK, 0, "a")
    assert store.claimed_by(TOKEN, 0) == [PACK]

    assert store.free_claim(TOKEN, PACK)
    assert store.claim(TOKEN, PACK, 1, "b") is not None
    assert not store.free_claim(TOKEN, PACK)


def test_a_run_is_done_only_with_every_file_that_its_marker_names(tmp_path):
    store = Store(tmp_path)
    folder = store.run_folder(KEY)
    folder.mkdir(parents=True)
    (folder / "results.parquet").write_bytes(b"rows")
    store.mark_done(KEY, threads=2)
    assert store.is_done(KEY)
    assert store.threads(KEY) == 2
    store.verify(KEY, ["results.parquet"])

    (folder / "results.parquet").write_bytes(b"rowz")
    with pytest.raises(ValueError, match="altered since the run finished"):
        store.verify(KEY, ["results.parquet"])
    (folder / "results.parquet").unlink()
    assert not store.is_done(KEY)


def test_only_the_failure_of_a_lost_worker_is_forgotten(tmp_path):
    store = Store(tmp_path)
    store.mark_failed(KEY, "diverged", tmp_path / "log")
    store.mark_failed(PACK, "lost", tmp_path / "log", lost=True)

    store.forget_lost([KEY, PACK, TOKEN])

    assert store.failure(KEY)["cause"] == "diverged"
    assert store.failure(PACK) is None


def test_a_recorded_pack_keeps_its_key_and_its_order(tmp_path):
    store = Store(tmp_path)
    keys = [TOKEN, KEY]

    store.record_pack(pack_key(keys), keys)

    assert store.recorded_packs() == {pack_key(keys): (TOKEN, KEY)}
    assert pack_key(keys) != pack_key(keys[::-1])


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ValueError, match="cannot be written"):
        check_writable(tmp_path / "file" / "out")
