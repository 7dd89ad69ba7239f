"""The weights of a hub base are recorded when a study first loads them, and compared ever after."""

import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from portal.bases import files as files_module
from portal.bases.base import Base, load_base
from portal.bases.files import BaseFiles, are_weights_here, folder_digest, hub_weights_digest
from portal.bases.registry import KnownBase, known_bases
from portal.config import BaseRef
from sweeps.store.output_folder import BaseRecords
from sweeps.worker import base_cache as frozen_bases
from sweeps.worker.base_cache import BaseCache
from tests.support.bases import character_tokenizer, make_model

COMMIT = "c" * 40
REF = BaseRef(name="tiny-hub", revision=COMMIT)


def in_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_size: str) -> Path:
    """The last weight file of a tiny base as the hub's cache keeps it; the hub itself is out of reach."""
    folder = tmp_path / "hub" / "models--org--tiny" / "snapshots" / COMMIT
    make_model("qwen3", hidden=24, layers=2, seed=0).save_pretrained(folder, max_shard_size=shard_size)
    character_tokenizer(bos=False).save_pretrained(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setitem(
        known_bases(), "tiny-hub", KnownBase(name="tiny-hub", location="org/tiny", revision=COMMIT)
    )
    monkeypatch.setenv("PORTAL_CACHE", str(tmp_path / "cache"))
    return sorted(folder.glob("*.safetensors"))[-1]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return in_hub_cache(tmp_path, monkeypatch, "20kB")


@pytest.fixture(params=["5GB", "20kB"], ids=["one file", "shards"])
def one_or_more(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The last weight file of a base that has one, or several."""
    return in_hub_cache(tmp_path, monkeypatch, request.param)


@pytest.fixture
def records(tmp_path: Path) -> BaseRecords:
    return BaseRecords(tmp_path / "out")


def flip_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_one_flipped_bit_in_the_hubs_cache_is_refused_on_resume(
    one_or_more: Path, records: BaseRecords
) -> None:
    for launch in ("first", "second"):  # the same weights again
        BaseCache().load(REF, "cpu", records, launch)

    flip_last_bit(one_or_more)
    bases = BaseCache()

    with pytest.raises(ValueError, match="base 'tiny-hub': its weights are not those the study began with"):
        bases.load(REF, "cpu", records, "third launch")
    assert not bases.names


def test_a_base_is_verified_once_a_launch_on_a_node_and_what_another_launch_found_does_not_count(
    weights: Path, records: BaseRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified, check = [], BaseFiles.check
    local = BaseRef(name=str(weights.parent), revision=folder_digest(weights.parent))
    monkeypatch.setattr(
        BaseFiles, "check", lambda files, revision: verified.append(revision) or check(files, revision)
    )

    for launch in ("first", "second"):
        for _ in range(3):  # processes of the node
            BaseCache().load(local, "cpu", records, launch)

    assert verified == [local.revision] * 2
    flip_last_bit(weights)
    for _ in range(2):  # the next process does not take the first one's failure for a pass
        with pytest.raises(ValueError, match="its files have digest"):
            BaseCache().load(local, "cpu", records, "third")
    weights.write_bytes(weights.read_bytes()[:-100])  # also where they cannot be loaded
    with pytest.raises(ValueError, match="its files have digest"):
        BaseCache().load(local, "cpu", records, "fourth")


@pytest.mark.parametrize("place", ["a folder", "the hub's cache"])
def test_processes_of_a_node_load_a_base_while_one_of_them_verifies_it(
    place: str, weights: Path, records: BaseRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever verifies goes on only after all have loaded: this would never end if they waited for that."""
    lanes, hashed = 4, files_module.files_sha256
    local = BaseRef(name=str(weights.parent), revision=folder_digest(weights.parent))
    ref = local if place == "a folder" else REF
    loaded, verified = threading.Barrier(lanes + 1, timeout=60), []
    one_at_a_time = threading.Lock()  # transformers loads in one thread of a process only

    def load(*named: str, **how: str) -> Base:
        with one_at_a_time:
            base = load_base(*named, **how)
        loaded.wait()
        return base

    def hash_late(paths: Sequence[Path]) -> list[str]:
        loaded.wait()
        verified.append([path.name for path in paths])
        return hashed(paths)

    monkeypatch.setattr(frozen_bases, "load_base", load)
    monkeypatch.setattr(files_module, "files_sha256", hash_late)

    with ThreadPoolExecutor(lanes) as pool:
        lane = [pool.submit(BaseCache().load, ref, "cpu", records, "launch") for _ in range(lanes)]
        bases = [each.result() for each in lane]

    assert len(verified) == 1
    assert weights.name in verified[0]
    assert [base.name for base in bases] == [ref.name] * lanes


def test_weights_are_here_once_the_hubs_cache_has_all_files(one_or_more: Path) -> None:
    assert are_weights_here("tiny-hub", COMMIT)
    assert are_weights_here("mini-qwen3-xs", "any")
    assert not are_weights_here("tiny-hub", "d" * 40)
    one_or_more.unlink()
    assert not are_weights_here("tiny-hub", COMMIT)


def test_a_damaged_copy_does_not_become_the_record(weights: Path, records: BaseRecords) -> None:
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])

    with pytest.raises(ValueError, match="base 'tiny-hub': cannot be read"):
        BaseCache().load(REF, "cpu", records, "first launch")
    assert records.recorded(REF) is None

    weights.write_bytes(whole)
    assert BaseCache().load(REF, "cpu", records, "second launch").name == REF.name
    assert records.recorded(REF) is not None


@pytest.mark.parametrize("content", ["{", "{}"])
def test_a_damaged_index_is_told_of_by_who_loads_the_base(
    content: str, weights: Path, records: BaseRecords
) -> None:
    (weights.parent / "model.safetensors.index.json").write_text(content)

    assert not are_weights_here("tiny-hub", COMMIT)
    with pytest.raises(ValueError, match="base 'tiny-hub': cannot be read"):
        BaseCache().load(REF, "cpu", records, "launch")


def test_a_hub_base_that_is_not_here_is_fetched_before_it_is_verified(
    one_or_more: Path, records: BaseRecords, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = one_or_more.rename(tmp_path / one_or_more.name)

    def fetch_and_load(*named: str, **how: str) -> Base:
        aside.rename(one_or_more)  # as the hub brings it
        return load_base(*named, **how)

    monkeypatch.setattr(frozen_bases, "load_base", fetch_and_load)
    base = BaseCache().load(REF, "cpu", records, "launch")

    assert base.name == REF.name
    assert records.recorded(REF) == hub_weights_digest(REF.name, REF.revision)


def test_the_digest_covers_every_weight_file_and_nothing_beside_them(one_or_more: Path) -> None:
    before = hub_weights_digest("tiny-hub", COMMIT)
    (one_or_more.parent / "consolidated.safetensors").write_bytes(b"another tool's copy")

    assert hub_weights_digest("tiny-hub", COMMIT) == before
    flip_last_bit(one_or_more)
    assert hub_weights_digest("tiny-hub", COMMIT) != before
    assert hub_weights_digest("mini-qwen3-xs", "any") is None  # the files of a local base identify it


@pytest.mark.usefixtures("weights")
def test_a_base_that_is_dropped_leaves_the_memory_at_once(records: BaseRecords) -> None:
    """Also one that a library has made refer to itself, as wrappers of models do."""
    bases = BaseCache()
    base = bases.load(REF, "cpu", records, "launch")
    model = weakref.ref(base.model)
    base.model.wrapper = [base.model]
    del base

    bases.keep([REF], "cpu")
    assert model() is not None
    bases.keep([], "cpu")

    assert model() is None
