"""A run is done with all its files, and a failure is forgotten only when told.

Who is in a pack is fixed by its first launch. What a run's process knew comes back, also from records of
earlier versions.
"""

from pathlib import Path

import pytest

from portal.storage.atomic import write_json_atomic
from portal.storage.checkpoint import save_checkpoint
from sweeps.store.run_store import Circumstances, PackStore, RunStore, pack_key

KEY, OTHER = "0" * 16, "1" * 16


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


@pytest.fixture
def packs(tmp_path: Path) -> PackStore:
    return PackStore(tmp_path)


def test_a_run_is_done_only_with_every_file_that_its_marker_names(store: RunStore) -> None:
    path = store.run_folder(KEY) / "results.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"rows")
    store.mark_done(KEY)
    assert store.is_done(KEY)
    store.verify(KEY, [path.name])

    path.write_bytes(b"rowz")
    with pytest.raises(ValueError, match="altered since the run finished"):
        store.verify(KEY, [path.name])
    path.unlink()
    assert not store.is_done(KEY)


def test_a_failure_is_forgotten_by_key_and_by_a_marker_of_success(store: RunStore) -> None:
    for key in (KEY, OTHER):
        store.mark_failed(key, "diverged", store.out / "log")
    assert store.finished_keys() == {KEY, OTHER}

    store.forget_failed([KEY])
    store.mark_done(OTHER)

    assert (store.failure(KEY), store.failure(OTHER)) == (None, None)
    assert store.finished_keys() == {OTHER}


def test_a_recorded_pack_keeps_its_key_and_its_order(packs: PackStore) -> None:
    keys = [OTHER, KEY]
    packs.record_pack(pack_key(keys), keys)

    assert packs.recorded_packs() == {pack_key(keys): (OTHER, KEY)}
    assert pack_key(keys) != pack_key(keys[::-1])
    write_json_atomic(packs.pack_folder(pack_key(keys)) / "pack.json", {"runs": [1]})
    with pytest.raises(ValueError, match=r"not a pack's record \(runs\.0: .+\); delete the folder"):
        packs.recorded_packs()


def test_the_newest_checkpoint_is_the_one_with_the_highest_number(packs: PackStore) -> None:
    for sequence in (1, 2, 10):
        save_checkpoint(packs.pack_folder(KEY) / "state", sequence, {}, {})

    assert (packs.newest_checkpoint(KEY), packs.newest_checkpoint(OTHER)) == ("0000000010", "0")
    assert packs.newest_checkpoints() == {KEY: "0000000010"}


def test_circumstances_come_back_and_what_earlier_versions_did_not_record_is_unknown(store: RunStore) -> None:
    assert store.circumstances(KEY) == Circumstances()
    for known in (Circumstances(threads=4, operations=("fused",), coverage=("a",)), Circumstances(threads=1)):
        store.note_circumstances(KEY, known)
        assert store.circumstances(KEY) == known
    write_json_atomic(store.run_folder(KEY) / "machine.json", {"threads": 2})
    assert store.circumstances(KEY) == Circumstances(threads=2)
