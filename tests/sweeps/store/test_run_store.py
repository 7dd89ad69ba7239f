"""Runs are done with every file that their marker names; packs are claimed, lost and recorded."""

import pytest

from sweeps.store.run_store import ClaimLost, Store, check_writable, pack_key

KEY, PACK, TOKEN = "0" * 16, "1" * 16, "2" * 16


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
