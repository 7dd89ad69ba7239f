"""Who is in a pack is fixed by its first launch."""

from pathlib import Path

import pytest

from portal.storage.checkpoint import save_checkpoint
from sweeps.store.pack_store import PackStore, pack_key

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

    with pytest.raises(ValueError, match="not a pack's record; delete the folder"):
        store.recorded_packs()


def test_the_newest_checkpoint_is_the_one_with_the_highest_number(tmp_path: Path) -> None:
    store = PackStore(tmp_path)
    for sequence in (1, 2, 10):
        save_checkpoint(store.pack_folder(FIRST) / "state", sequence, {}, {})

    assert store.newest_checkpoint(FIRST) == "0000000010"
    assert store.newest_checkpoint(SECOND) == "0"
    assert store.newest_checkpoints() == {FIRST: "0000000010"}
