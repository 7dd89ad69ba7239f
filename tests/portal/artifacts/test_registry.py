"""A registry keeps artifacts as they are, under their digests, and tells when one is no longer that.

Every task of a core has an adapter on every base of it; what came last counts.
"""

import shutil
from pathlib import Path

import pytest
import torch
from obstore.store import MemoryStore

from portal.artifacts import artifact
from portal.artifacts.artifact import Artifact, TrainedHypernet, save_artifact, save_more_tasks
from portal.artifacts.model_card import RunRecord
from portal.artifacts.registry import ADDED, AdapterMatrix, Registry, TaskScore, choose_matrix, read_matrices
from portal.bases.base import Base
from portal.bases.sites import group_sites
from portal.config import AdapterConfig
from portal.hypernet import Converter
from portal.storage.object_store import ObjectPath
from portal.storage.paths import Folder, folder_contents
from tests.support.artifacts import HYPERNET, write_artifact
from tests.support.bases import TASKS, make_base, make_run

SCORE = TaskScore(score=0.75, log_loss=0.5, num_examples=40)
SCORES = {"sums": SCORE}
ADAPTER = AdapterConfig(rank=2, alpha=6)


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
    write_artifact(tmp_path / "other", make_base("other", "llama"), ADAPTER)

    for name, order in {"one": (artifact, tmp_path / "other"), "two": (tmp_path / "other", artifact)}.items():
        registry = Registry(tmp_path / name)
        first, second = (registry.add(location) for location in order)
        for score in (0.75, 0.25, 0.5, 0.75):
            registry.add_scores(
                first, {"sums": "latent"}, {"sums": SCORE.model_copy(update={"score": score})}
            )

        assert registry.members() == [first, second]
        assert (first.number, second.number) == (1, 2)
        kept = [sheet.scores["sums"].score for sheet in registry.score_sheets()]
        assert kept == [0.75, 0.25, 0.5, 0.75]


def test_scores_are_kept_with_the_latent_that_they_belong_to(registry: Registry, artifact: Path) -> None:
    member = registry.add(artifact, SCORES)
    better = {"sums": SCORE.model_copy(update={"score": 0.8})}
    latent = member.record.tasks["sums"].latent_sha256

    registry.add_scores(member, {"sums": latent}, better)

    first, second = registry.score_sheets()
    assert (first.artifact, first.scores, second.scores) == (member.digest, SCORES, better)
    assert first.latents == second.latents == {"sums": latent}


def test_an_artifact_that_is_deleted_or_half_written_is_not_seen_and_is_written_anew(
    registry: Registry, artifact: Path
) -> None:
    member = registry.add(artifact)
    for deleted in (("*",), (ADDED, "model.safetensors")):
        for name in folder_contents(member.folder) if deleted == ("*",) else deleted:
            (member.folder / name).unlink()

        assert registry.members() == []
        assert registry.add(artifact).digest == member.digest
        (again,) = registry.members()
        assert "model.safetensors" in folder_contents(again.folder)


def test_what_was_edited_is_refused(registry: Registry, artifact: Path) -> None:
    member = registry.add(artifact, SCORES)
    for name, message in (
        ("config.json", "edited or damaged"),
        ("portal.json", "not the one it is named by"),
        (ADDED, "not the number of an artifact"),
    ):
        whole = (member.folder / name).read_bytes()
        (member.folder / name).write_bytes(whole.replace(b"{", b"{ ", 1) if name != ADDED else b"{}")
        with pytest.raises(ValueError, match=message) as caught:
            registry.members()
        assert member.digest in str(caught.value)
        (member.folder / name).write_bytes(whole)
    (name,) = folder_contents(registry.folder / "scores")
    path = registry.folder / "scores" / name
    data = path.read_bytes()
    for content, message in (
        (data.replace(b"0.75", b"0.95"), "edited since it was written"),
        (data[:40], "not a sheet of scores"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            registry.score_sheets()


def test_a_folder_with_something_else_is_no_registry_and_an_artifact_of_portallib_is_refused(
    artifact: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"not a registry, it holds README\.md"):
        Registry.open(artifact)
    registry = Registry.open(tmp_path / "new")
    registry.add(artifact, SCORES)
    (artifact / "portal.json").unlink()
    with pytest.raises(ValueError, match=r"has no portal\.json, by which a registry knows an artifact"):
        registry.add(artifact)
    shutil.rmtree(artifact)

    assert len(Registry.open(str(tmp_path / "new")).members()) == 1


@pytest.fixture
def bases() -> dict[str, Base]:
    return {"small": make_base("small", "qwen3"), "large": make_base("large", "llama", hidden=36)}


@pytest.fixture
def filled(bases: dict[str, Base], tmp_path: Path) -> Registry:
    """One with artifacts of one core for a small and a large base."""
    filled = Registry(tmp_path / "registry")
    write_artifact(tmp_path / "small", bases["small"], ADAPTER)
    port(tmp_path / "large", tmp_path / "small", bases["large"])
    for name in bases:
        filled.add(tmp_path / name)
    return filled


def port(folder: Path, artifact: Path, base: Base) -> None:
    """An artifact of another base, with the same latents and core and a random converter."""
    source = Artifact.load(artifact)
    _, core = source.frozen_core((), ADAPTER, HYPERNET)
    groups = group_sites(base.sites, ADAPTER.modules)
    generator = torch.Generator().manual_seed(1)
    converter = Converter(
        HYPERNET, groups, num_layers=base.num_layers, zero_output=False, generator=generator
    )
    trained = TrainedHypernet(
        source.latents, ADAPTER, HYPERNET, core, converter, calibrated=TASKS, source=source.as_source()
    )
    run = make_run("portal", base.name, adapter=ADAPTER, hypernet=HYPERNET)
    save_artifact(folder, base=base, trained=trained, record=RunRecord.of(run))


def teach(folder: Path, artifact: Path, base: Base, **latents: float) -> Path:
    """The artifact with new tasks in the folder, whose latents have this value throughout."""
    run = make_run("taught", base.name, adapter=ADAPTER, hypernet=HYPERNET)
    start, record = Artifact.load(artifact), RunRecord.of(run)
    values = {task: torch.full((HYPERNET.d_latent,), value) for task, value in latents.items()}
    save_more_tasks(folder, start, values, source=start.as_source(), base=base, record=record)
    return folder


def only(filled: Registry) -> AdapterMatrix:
    (matrix,) = read_matrices(filled)
    return matrix


def test_a_task_that_was_taught_on_one_base_has_an_adapter_on_every_base(
    filled: Registry, bases: dict[str, Base], tmp_path: Path
) -> None:
    folder = teach(tmp_path / "taught", tmp_path / "small", bases["small"], new=1.0)
    taught = filled.add(folder, {"new": SCORE})

    matrix = only(filled)

    assert (matrix.bases, matrix.tasks) == (("small", "large"), (*TASKS, "new"))
    on_small, on_large = matrix.cell("small", "new"), matrix.cell("large", "new")
    assert (on_small.latent.digest, on_small.calibrated, on_small.score) == (taught.digest, False, SCORE)
    assert (on_large.latent.digest, on_large.calibrated, on_large.score) == (taught.digest, False, None)
    assert on_large.converter.base == "large"
    assert matrix.cell("large", "sums").calibrated

    artifact = matrix.artifact("large", ("new", "sums"))
    expected = Artifact.load(tmp_path / "large").with_latents_of(Artifact.load(tmp_path / "taught"))
    assert artifact.config.tasks == ("new", "sums")
    for group, factors in expected.factors(("new", "sums")).items():
        assert all(map(torch.equal, artifact.factors(("new", "sums"))[group], factors))


def test_adapters_of_many_tasks_read_each_runs_record_once(
    filled: Registry, bases: dict[str, Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = {f"new_{number}": float(number) for number in range(3)}
    filled.add(teach(tmp_path / "taught", tmp_path / "small", bases["small"], **new))
    read: list[Path] = []
    monkeypatch.setattr(artifact, "read_run_record", read.append)

    made = only(filled).artifact("large", new)
    for task in new:
        made.export_peft(task, tmp_path / "adapters" / task)

    assert len(read) == len(set(read))


def test_of_several_latents_of_a_task_the_last_one_counts_with_its_own_scores(
    filled: Registry, bases: dict[str, Base], tmp_path: Path
) -> None:
    source = tmp_path / "small"
    first = teach(tmp_path / "first", source, bases["small"], new=1.0)
    second = teach(tmp_path / "second", source, bases["small"], new=2.0)
    third = teach(tmp_path / "third", first, bases["small"], other=3.0)
    filled.add(first, {"new": SCORE})
    last = filled.add(second)
    filled.add(third)  # it has the first latent of `new` again, which makes it no newer

    cell = only(filled).cell("small", "new")

    assert (cell.latent.digest, cell.score) == (last.digest, None)
    assert torch.equal(only(filled).artifact("small", ("new",)).latents["new"], torch.full((5,), 2.0))


def test_teaching_makes_no_new_converter(filled: Registry, bases: dict[str, Base], tmp_path: Path) -> None:
    before = only(filled).cell("small", "sums").converter
    taught = teach(tmp_path / "taught", tmp_path / "small", bases["small"], new=1.0)
    again = teach(tmp_path / "again", taught, bases["small"], more=1.0)

    filled.add(taught, {"sums": SCORE})
    member = filled.add(again)

    cell = only(filled).cell("small", "sums")
    assert (cell.converter.digest, cell.score) == (before.digest, SCORE)
    alone = Registry(tmp_path / "alone")
    alone.add(again)
    assert only(alone).cell("small", "more").converter.digest == member.digest


def test_scores_that_are_kept_are_found_at_their_adapter(filled: Registry) -> None:
    only(filled).keep_scores("large", {"sums": SCORE})

    assert only(filled).cell("large", "sums").score == SCORE
    assert only(filled).cell("small", "sums").score is None


def test_a_core_of_its_own_is_a_matrix_of_its_own(
    filled: Registry, bases: dict[str, Base], tmp_path: Path
) -> None:
    write_artifact(tmp_path / "other", bases["small"], AdapterConfig(rank=3, alpha=6))
    filled.add(tmp_path / "other")
    first, second = read_matrices(filled)

    assert (first.bases, second.bases) == (("small", "large"), ("small",))
    assert choose_matrix([first, second], ("large",), None, None) is first
    assert choose_matrix([first, second], ("small",), ("sums",), second.core[:8]) is second
    for base, task, core, message in (
        ("small", "sums", None, f"name one of them with --core: {first.core[:12]}, "),
        ("lrge", "sums", None, "no artifact for base 'lrge'; did you mean 'large'"),
        ("small", "sum", None, "no latent for task 'sum'; did you mean 'sums'"),
        ("small", "sums", "xyz", "no core 'xyz'"),
    ):
        with pytest.raises(ValueError, match=message):
            choose_matrix([first, second], (base,), (task,), core)
