"""A run is done with all its files, and a failure is forgotten only when told.

Who is in a pack is fixed by its first launch. What a run's process knew comes back, also from records of
earlier versions.
"""

from pathlib import Path

import pytest

from portal.storage.checkpoint import save_checkpoint
from sweeps.store.run_store import Circumstances, PackStore, RunStore, pack_key

KEY, OTHER = "0" * 16, "1" * 16


def test_a_run_is_done_only_with_every_file_that_its_marker_names(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    folder = tmp_path / "runs" / KEY
    folder.mkdir(parents=True)
    (folder / "results.parquet").write_bytes(b"rows")
    store.mark_done(KEY)
    assert store.is_done(KEY)
    store.verify(KEY, ["results.parquet"])

    (folder / "results.parquet").write_bytes(b"rowz")
    with pytest.raises(ValueError, match="altered since the run finished"):
        store.verify(KEY, ["results.parquet"])
    (folder / "results.parquet").unlink()
    assert not store.is_done(KEY)


def test_a_failure_is_forgotten_by_key_and_by_a_marker_of_success(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for key in (KEY, OTHER):
        store.mark_failed(key, "diverged", tmp_path / "log")
    assert store.finished_keys() == {KEY, OTHER}

    store.forget_failed([KEY])
    store.mark_done(OTHER)

    assert store.failure(KEY) is None
    assert store.failure(OTHER) is None
    assert store.finished_keys() == {OTHER}


FIRST, SECOND = "0" * 16, "2" * 16


def test_a_recorded_pack_keeps_its_key_and_its_order(tmp_path: Path) -> None:
    store, keys = PackStore(tmp_path), [SECOND, FIRST]

    store.record_pack(pack_key(keys), keys)

    assert store.recorded_packs() == {pack_key(keys): (SECOND, FIRST)}
    assert pack_key(keys) != pack_key(keys[::-1])


def test_a_record_that_is_none_is_refused(tmp_path: Path) -> None:
    store = PackStore(tmp_path)
    store.pack_folder(FIRST).mkdir(parents=True)
    (store.pack_folder(FIRST) / "pack.json").write_text('{"runs": [1]}')

    with pytest.raises(ValueError, match=r"not a pack's record \(runs\.0: .+\); delete its folder"):
        store.recorded_packs()


def test_the_newest_checkpoint_is_the_one_with_the_highest_number(tmp_path: Path) -> None:
    store = PackStore(tmp_path)
    for sequence in (1, 2, 10):
        save_checkpoint(store.pack_folder(FIRST) / "state", sequence, {}, {})

    assert store.newest_checkpoint(FIRST) == "0000000010"
    assert store.newest_checkpoint(SECOND) == "0"
    assert store.newest_checkpoints() == {FIRST: "0000000010"}


@pytest.mark.parametrize(
    "circumstances",
    [Circumstances(4, ("fused",), ("base hybrid: q of 4 layers are adapted as q in 2",)), Circumstances(1)],
)
def test_they_come_back_from_what_a_folder_keeps(circumstances: Circumstances) -> None:
    assert Circumstances.from_json(circumstances.to_json()) == circumstances


def test_what_earlier_versions_did_not_record_is_unknown() -> None:
    assert Circumstances.from_json({"threads": 2}) == Circumstances(2)
    assert Circumstances.from_json({}) == Circumstances(None, (), ())
