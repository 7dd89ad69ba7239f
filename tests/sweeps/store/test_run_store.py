"""A run is done with all its files, and a failure is forgotten only when told."""

from pathlib import Path

import pytest

from sweeps.store.run_store import RunStore

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
