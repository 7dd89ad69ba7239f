"""A registry keeps artifacts as they are, under their digests, and tells when one is no longer that."""

import shutil
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from portal.artifacts.registry import ADDED, Registry, TaskScore
from portal.config import AdapterConfig
from portal.storage.object_store import ObjectPath
from portal.storage.paths import Folder, folder_contents
from tests.support.artifacts import write_artifact
from tests.support.bases import make_base

SCORES = {"sums": TaskScore(acc_norm=0.75, log_loss=0.5, num_examples=40)}


@pytest.fixture(params=["folder", "store"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """An empty one, on a file system or in an object store."""
    places: dict[str, Folder] = {
        "folder": tmp_path / "registry",
        "store": ObjectPath(MemoryStore(), "memory://x"),
    }
    return Registry(places[request.param])


def test_an_artifact_is_copied_as_it_is_and_only_once(registry: Registry, artifact: Path) -> None:
    member = registry.add(artifact, SCORES)

    assert registry.add(artifact) == member
    assert registry.members() == [member]
    contents = folder_contents(member.folder)
    assert contents.pop(ADDED)
    assert contents == folder_contents(artifact)
    assert (member.base, member.record.lineage.method) == ("tiny", "hypernet")


def test_what_was_added_in_sight_of_something_comes_after_it(artifact: Path, tmp_path: Path) -> None:
    write_artifact(tmp_path / "other", make_base("other", "llama"), AdapterConfig(rank=2, alpha=6))

    for name, order in {"one": (artifact, tmp_path / "other"), "two": (tmp_path / "other", artifact)}.items():
        registry = Registry(tmp_path / name)
        first, second = (registry.add(location) for location in order)
        for score in (0.75, 0.25, 0.5, 0.75):
            registry.add_scores(
                first, {"sums": "latent"}, {"sums": TaskScore(acc_norm=score, log_loss=0.5, num_examples=40)}
            )

        assert registry.members() == [first, second]
        assert (first.number, second.number) == (1, 2)
        kept = [sheet.scores["sums"].score for sheet in registry.score_sheets()]
        assert kept == [0.75, 0.25, 0.5, 0.75]


def test_scores_are_kept_with_the_latent_that_they_belong_to(registry: Registry, artifact: Path) -> None:
    member = registry.add(artifact, SCORES)
    better = {"sums": TaskScore(acc_norm=0.8, log_loss=0.4, num_examples=40)}
    latent = member.record.tasks["sums"].latent_sha256

    registry.add_scores(member, {"sums": latent}, better)

    first, second = registry.score_sheets()
    assert (first.artifact, first.scores, second.scores) == (member.digest, SCORES, better)
    assert first.latents == second.latents == {"sums": latent}


def test_an_artifact_that_is_deleted_is_gone_and_can_come_back(registry: Registry, artifact: Path) -> None:
    member = registry.add(artifact)
    for name in folder_contents(member.folder):
        (member.folder / name).unlink()

    assert registry.members() == []
    assert registry.add(artifact).digest == member.digest
    assert len(registry.members()) == 1


def test_a_half_written_artifact_is_not_seen_and_is_written_anew(registry: Registry, artifact: Path) -> None:
    member = registry.add(artifact)
    (member.folder / ADDED).unlink()
    (member.folder / "model.safetensors").unlink()

    assert registry.members() == []
    registry.add(artifact)
    assert "model.safetensors" in folder_contents(registry.members()[0].folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "edited or damaged"),
        ("portal.json", "not the one it is named by"),
        (ADDED, "not readable"),
    ],
)
def test_what_was_edited_is_refused_by_name(
    registry: Registry, artifact: Path, name: str, message: str
) -> None:
    member = registry.add(artifact)
    data = (member.folder / name).read_bytes()
    (member.folder / name).write_bytes(data.replace(b"{", b"{ ", 1) if name != ADDED else b"{}")

    with pytest.raises(ValueError, match=message) as caught:
        registry.members()
    assert member.digest in str(caught.value)


def test_an_edited_sheet_of_scores_is_refused(registry: Registry, artifact: Path) -> None:
    registry.add(artifact, SCORES)
    (name,) = folder_contents(registry.folder / "scores")
    path = registry.folder / "scores" / name
    data = path.read_bytes()

    path.write_bytes(data.replace(b"0.75", b"0.95"))
    with pytest.raises(ValueError, match="edited since it was written"):
        registry.score_sheets()
    path.write_bytes(data[:40])
    with pytest.raises(ValueError, match="not a sheet of scores"):
        registry.score_sheets()


def test_an_artifact_of_portallib_is_refused(registry: Registry, artifact: Path) -> None:
    (artifact / "portal.json").unlink()

    with pytest.raises(ValueError, match=r"has no portal\.json, by which a registry knows an artifact"):
        registry.add(artifact)
    assert registry.members() == []


def test_a_folder_with_something_else_is_no_registry(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not a registry, it holds README\.md"):
        Registry.open(artifact)
    registry = Registry.open(tmp_path / "new")
    registry.add(artifact, SCORES)
    shutil.rmtree(artifact)

    assert len(Registry.open(str(tmp_path / "new")).members()) == 1


def test_a_score_of_an_earlier_version_is_read() -> None:
    earlier = {"acc_norm": 0.75, "log_loss": 0.5, "num_examples": 40}

    assert TaskScore.model_validate(earlier) == TaskScore(score=0.75, log_loss=0.5, num_examples=40)
    assert TaskScore.model_validate(earlier).metric == "acc_norm"
