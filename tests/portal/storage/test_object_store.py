"""An object store's names behave like a folder's, as far as this project uses them."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from portal.storage.atomic import (
    create_exclusive,
    remove_folder,
    write_bytes_atomic,
    write_folder,
    write_json_atomic,
    write_note,
)
from portal.storage.checkpoint import check_checkpoints, load_latest, save_checkpoint
from portal.storage.object_store import ObjectPath
from portal.storage.paths import (
    Folder,
    fetched,
    file_sha256,
    files_below,
    folder_contents,
    local_place,
    matching,
    open_folder,
)

FILES = st.sampled_from(["a/x.json", "a/y", "b/c/x.json", "b/c/z", "b/d", "e.json"])
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["write", "create", "unlink"]), FILES),
        st.tuples(st.just("remove"), st.sampled_from(["a", "b", "b/c"])),
    ),
    max_size=12,
)


def in_memory() -> ObjectPath:
    return ObjectPath(MemoryStore(), "memory://here")


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return tmp_path / "out" if request.param == "folder" else in_memory() / "out"


@pytest.mark.slow
@settings(max_examples=200)
@given(actions=ACTIONS)
def test_after_any_writes_and_removals_both_kinds_list_and_hold_the_same(
    actions: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    kinds: list[Folder] = [tmp_path_factory.mktemp("out"), in_memory()]
    files: set[str] = set()
    for number, (action, name) in enumerate(actions):
        for kind in kinds:
            if action == "write":
                write_bytes_atomic(kind / name, b"%d" % number)
            elif action == "create":
                assert create_exclusive(kind / name, b"new %d" % number) == (name not in files)
            elif action == "unlink":
                (kind / name).unlink(missing_ok=True)
            else:
                remove_folder(kind / name)
        if action in ("write", "create"):
            files.add(name)
        elif action == "unlink":
            files.discard(name)
        else:
            files = {other for other in files if not other.startswith(f"{name}/")}

    folder, store = kinds
    assert set(files_below(folder)) == set(files_below(store)) == files
    assert folder_contents(folder) == folder_contents(store)
    for pattern in ("*.json", "*/*.json", "a/*", "b/*/*"):
        found = [
            {str(path).removeprefix(f"{kind}/") for path in matching(kind, pattern) if path.is_file()}
            for kind in kinds
        ]
        assert found[0] == found[1]
    for name in files:
        assert (store / name).is_file()
        assert (store / name).exists()
        assert file_sha256(store / name) == file_sha256(folder / name)
        assert (store / name).stat().st_size == (folder / name).stat().st_size


def test_names_have_the_parts_of_a_paths_and_what_is_not_there_is_not_found(place: Folder) -> None:
    path = place / "runs" / "key.json"

    assert (path.name, path.stem, path.parent.name) == ("key.json", "key", "runs")
    assert str(path) == f"{place}/runs/key.json"
    assert path.with_suffix(".lost").name == "key.lost"
    assert place in path.parents
    assert path == place / "runs/key.json"
    assert {path: 1}[place / "runs" / "key.json"] == 1
    assert (path.exists(), path.is_dir(), matching(place, "*/*")) == (False, False, [])
    for ask in (path.read_bytes, path.stat):
        with pytest.raises(FileNotFoundError):
            ask()
    path.unlink(missing_ok=True)
    remove_folder(path)


def test_checkpoints_are_the_same_in_a_store(place: Folder) -> None:
    for sequence in range(1, 5):
        tensors = {"w": torch.full((3,), float(sequence))}
        save_checkpoint(place / "state", sequence, tensors, {"step": sequence})

    assert [path.name for path in matching(place, "state/*")] == ["0000000003", "0000000004"]
    found = load_latest(place / "state")
    assert found is not None
    assert (found.sequence, found.meta) == (4, {"step": 4})
    assert torch.equal(found.tensors["w"], torch.full((3,), 4.0))
    (place / "state" / "0000000004" / "manifest.json").unlink()  # as of a writer that was killed
    older = load_latest(place / "state")
    assert older is not None
    assert older.sequence == 3
    assert len(check_checkpoints(place / "state")) == 1


def test_a_folder_is_replaced_whole_and_fetched(place: Folder) -> None:
    write_folder(place / "artifact", {"a/x": b"1", "b": b"2"})
    write_folder(place / "artifact", {"b": b"3"})
    write_note(place / "beat", "7")
    write_json_atomic(place / "x.json", {"a": 1})

    assert (place / "beat").read_text() == "7"
    assert json.loads((place / "x.json").read_bytes()) == {"a": 1}
    with fetched(place) as local:
        assert (local / "artifact" / "b").read_bytes() == b"3"
        assert folder_contents(local) == folder_contents(place)
    if isinstance(place, Path):
        assert set(files_below(place / "artifact")) == {"b"}


def test_a_url_is_a_store_one_of_another_kind_nothing_and_all_else_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PORTAL_CACHE", str(tmp_path))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    found = open_folder("s3://bucket/some/folder/")

    assert isinstance(found, ObjectPath)
    assert str(found) == "s3://bucket/some/folder"
    assert str(pickle.loads(pickle.dumps(found / "x"))) == "s3://bucket/some/folder/x"
    assert local_place(found).is_relative_to(tmp_path)
    assert local_place(found) != local_place(open_folder("s3://bucket/other"))
    assert open_folder("out") == local_place(Path("out")) == Path("out")
    for text in ("S3://b/x", "s3:/b/x", "s3a://b/x", "https://b.host/x", "file:///tmp/x", "s3://"):
        with pytest.raises(ValueError, match="no folder and no URL like s3://bucket/folder"):
            open_folder(text)


def test_an_object_that_a_repeated_request_finds_as_its_own_counts_as_created() -> None:
    path = in_memory() / "lease"

    assert path.create(b"mine")
    assert path.create(b"mine")
    assert not path.create(b"other")


def test_an_error_of_the_store_names_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setattr("portal.storage.object_store.RETRIES", 0)
    path = open_folder("s3://bucket/folder") / "x.json"

    with pytest.raises(OSError, match=r"s3://bucket/folder/x\.json"):
        path.read_bytes()
