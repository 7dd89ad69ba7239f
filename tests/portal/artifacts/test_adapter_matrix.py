"""Every task of a core has an adapter on every base of it; what came last counts."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from portal.artifacts import artifact
from portal.artifacts.adapter_matrix import AdapterMatrix, choose_matrix, read_matrices
from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_writer import TrainedHypernet, save_artifact, save_more_tasks
from portal.artifacts.registry import Registry, TaskScore
from portal.artifacts.run_record import RunRecord
from portal.bases.base import Base
from portal.bases.sites import group_sites
from portal.config import AdapterConfig
from portal.hypernet import Converter
from tests.support.artifacts import HYPERNET, write_artifact
from tests.support.bases import TASKS, make_base, make_run

ADAPTER = AdapterConfig(rank=2, alpha=6)
SCORE = TaskScore(acc_norm=0.75, log_loss=0.5, num_examples=40)


@pytest.fixture
def bases() -> dict[str, Base]:
    return {"small": make_base("small", "qwen3"), "large": make_base("large", "llama", hidden=36)}


@pytest.fixture
def registry(bases: dict[str, Base], tmp_path: Path) -> Registry:
    """One with artifacts of one core for a small and a large base."""
    registry = Registry(tmp_path / "registry")
    write_artifact(tmp_path / "small", bases["small"], ADAPTER)
    port(tmp_path / "large", tmp_path / "small", bases["large"])
    for name in bases:
        registry.add(tmp_path / name)
    return registry


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


def teach(folder: Path, artifact: Path, base: Base, latents: Mapping[str, Tensor]) -> Path:
    """The artifact with new tasks at these latents, in the folder."""
    run = make_run("taught", base.name, adapter=ADAPTER, hypernet=HYPERNET)
    start = Artifact.load(artifact)
    save_more_tasks(folder, start, latents, source=start.as_source(), base=base, record=RunRecord.of(run))
    return folder


def only(registry: Registry) -> AdapterMatrix:
    (matrix,) = read_matrices(registry)
    return matrix


def test_a_task_that_was_taught_on_one_base_has_an_adapter_on_every_base(
    registry: Registry, bases: dict[str, Base], tmp_path: Path
) -> None:
    taught = registry.add(
        teach(tmp_path / "taught", tmp_path / "small", bases["small"], {"new": torch.ones(5)}), {"new": SCORE}
    )

    matrix = only(registry)

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
    registry: Registry, bases: dict[str, Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = {f"new_{number}": torch.full((HYPERNET.d_latent,), float(number)) for number in range(3)}
    registry.add(teach(tmp_path / "taught", tmp_path / "small", bases["small"], new))
    read: list[Path] = []
    monkeypatch.setattr(artifact, "read_run_record", read.append)

    made = only(registry).artifact("large", new)
    for task in new:
        made.export_peft(task, tmp_path / "adapters" / task)

    assert len(read) == len(set(read))


def test_of_several_latents_of_a_task_the_last_one_counts_with_its_own_scores(
    registry: Registry, bases: dict[str, Base], tmp_path: Path
) -> None:
    source = tmp_path / "small"
    first = teach(tmp_path / "first", source, bases["small"], {"new": torch.ones(5)})
    second = teach(tmp_path / "second", source, bases["small"], {"new": torch.full((5,), 2.0)})
    third = teach(tmp_path / "third", first, bases["small"], {"other": torch.full((5,), 3.0)})
    registry.add(first, {"new": SCORE})
    last = registry.add(second)
    registry.add(third)  # it has the first latent of `new` again, which makes it no newer

    cell = only(registry).cell("small", "new")

    assert (cell.latent.digest, cell.score) == (last.digest, None)
    assert torch.equal(only(registry).artifact("small", ("new",)).latents["new"], torch.full((5,), 2.0))


def test_teaching_makes_no_new_converter(registry: Registry, bases: dict[str, Base], tmp_path: Path) -> None:
    before = only(registry).cell("small", "sums").converter
    taught = teach(tmp_path / "taught", tmp_path / "small", bases["small"], {"new": torch.ones(5)})
    again = teach(tmp_path / "again", taught, bases["small"], {"more": torch.ones(5)})

    registry.add(taught, {"sums": SCORE})
    member = registry.add(again)

    cell = only(registry).cell("small", "sums")
    assert (cell.converter.digest, cell.score) == (before.digest, SCORE)
    alone = Registry(tmp_path / "alone")
    alone.add(again)
    assert only(alone).cell("small", "more").converter.digest == member.digest


def test_scores_that_are_kept_are_found_at_their_adapter(registry: Registry) -> None:
    only(registry).keep_scores("large", {"sums": SCORE})

    assert only(registry).cell("large", "sums").score == SCORE
    assert only(registry).cell("small", "sums").score is None


def test_a_core_of_its_own_is_a_matrix_of_its_own(
    registry: Registry, bases: dict[str, Base], tmp_path: Path
) -> None:
    write_artifact(tmp_path / "other", bases["small"], AdapterConfig(rank=3, alpha=6))
    registry.add(tmp_path / "other")
    first, second = read_matrices(registry)

    assert (first.bases, second.bases) == (("small", "large"), ("small",))
    assert choose_matrix([first, second], ("large",), None, None) is first
    assert choose_matrix([first, second], ("small",), ("sums",), second.core[:8]) is second
    with pytest.raises(ValueError, match=f"name one of them with --core: {first.core[:12]}, "):
        choose_matrix([first, second], ("small",), ("sums",), None)
    with pytest.raises(ValueError, match="no artifact for base 'lrge'; did you mean 'large'"):
        choose_matrix([first, second], ("lrge",), None, None)
    with pytest.raises(ValueError, match="no latent for task 'sum'; did you mean 'sums'"):
        choose_matrix([first, second], ("small",), ("sum",), None)
    with pytest.raises(ValueError, match="no core 'xyz'"):
        choose_matrix([first, second], (), None, "xyz")
