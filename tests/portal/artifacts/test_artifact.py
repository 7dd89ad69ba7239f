"""Artifacts come back as they were saved, generate their adapters, and belong to one base."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from portal.artifacts.artifact import Artifact
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig
from tests.support.artifacts import HYPERNET, write_artifact
from tests.support.bases import TASKS, make_base, make_uneven_base


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    write_artifact(folder, make_base("tiny", "qwen3"), AdapterConfig(rank=2, alpha=6))
    return folder


@pytest.fixture
def artifact(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(saved, tmp_path / "artifact")
    return tmp_path / "artifact"


@pytest.mark.parametrize("modules", [("v", "q"), tuple(MODULE_PATHS)])
def test_a_saved_artifact_generates_the_same_factors_bit_for_bit(
    any_base: Base, modules: tuple[str, ...], tmp_path: Path
) -> None:
    adapter = AdapterConfig(modules=modules, rank=3, alpha=5)
    factors = write_artifact(tmp_path, any_base, adapter)

    loaded = Artifact.load(tmp_path)

    assert loaded.config.tasks == TASKS
    assert set(loaded.config.adapter.modules) == set(modules)
    assert (loaded.config.rank, loaded.config.alpha, loaded.config.hypernet) == (3, 5, HYPERNET)
    assert loaded.config.base_model_revision == any_base.revision
    again = loaded.factors(TASKS)
    assert again.keys() == factors.keys()
    for group, (a, b) in factors.items():
        assert torch.equal(again[group][0], a)
        assert torch.equal(again[group][1], b)
        assert b.abs().min() > 0


def test_layers_of_unequal_widths_keep_their_groups(tmp_path: Path) -> None:
    base = make_uneven_base("tiny")
    factors = write_artifact(tmp_path, base, AdapterConfig(modules=("gate", "down", "q"), rank=2))

    loaded = Artifact.load(tmp_path)

    names = {(group.module, group.layers): (group.input, group.output) for group in loaded.config.groups}
    assert names == {
        ("gate", (1,)): ("gate", "gate__out_40"),
        ("gate", (0, 2)): ("gate", "gate__out_56"),
        ("down", (1,)): ("down__in_40", "down"),
        ("down", (0, 2)): ("down__in_56", "down"),
        ("q", (0, 1, 2)): ("q", "q"),
    }
    for group, (a, b) in loaded.factors(TASKS).items():
        assert torch.equal(a, factors[group][0])
        assert torch.equal(b, factors[group][1])


def test_every_projection_target_is_written_with_its_path_in_the_base(artifact: Path) -> None:
    base = make_base("tiny", "qwen3")
    config = Artifact.load(artifact).config

    for site in base.sites:
        if site.module in ("q", "v"):
            assert config.path(site.module, site.layer) == site.path
    assert len(config.projection_targets) == 6
    with pytest.raises(KeyError):
        config.path("gate", 0)


def test_an_artifact_is_its_three_files_with_the_formats_metadata_and_names(artifact: Path) -> None:
    assert sorted(path.name for path in artifact.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    raw = json.loads((artifact / "config.json").read_text())
    assert (raw["format_version"], raw["library_name"]) == (1, "portallib")
    assert raw["projection_targets"][0] == {
        "layer_index": 0,
        "module_name": "q",
        "module_path": "self_attn.q_proj",
        "in_features": 24,
        "out_features": 48,
        "input_group": "q",
        "output_group": "q",
    }
    names = set(load_file(artifact / "model.safetensors"))
    assert {"task_latents", "core.l1.weight", "core.B.v.bias", "alignment.input.q"} <= names
    assert {name.split(".")[0] for name in names} == {"task_latents", "core", "alignment"}
    assert all(f"`{task}`" in (artifact / "README.md").read_text() for task in TASKS)


@pytest.mark.parametrize("chosen", [("names",), ("sums", "colours"), TASKS])
def test_the_latents_of_the_named_tasks_come_in_their_order(artifact: Path, chosen: tuple[str, ...]) -> None:
    loaded = Artifact.load(artifact)

    latents, _ = loaded.frozen_core(chosen, loaded.config.adapter, loaded.config.hypernet)

    table = loaded.tensors["task_latents"]
    assert torch.equal(latents, torch.stack([table[TASKS.index(task)] for task in chosen]))


def test_an_unknown_task_is_refused_with_the_nearest_name(artifact: Path) -> None:
    loaded = Artifact.load(artifact)

    for ask in (loaded.task_index, lambda task: loaded.factors((task,))):
        with pytest.raises(ValueError, match="the artifact has no task 'colors'; did you mean 'colours'"):
            ask("colors")


@pytest.mark.parametrize(
    ("adapter", "hypernet", "message"),
    [
        ({"rank": 4}, {}, "the artifact has rank 2, the run wants 4"),
        ({"alpha": 4}, {}, "the artifact has alpha 6, the run wants 4"),
        ({"modules": ("q",)}, {}, "the artifact has modules"),
        ({}, {"hidden": 7}, "the artifact has hidden 6, the run wants 7"),
        ({}, {"d_core": 7}, "the artifact has d_core 4, the run wants 7"),
    ],
)
def test_a_core_of_other_shapes_than_the_run_wants_is_refused(
    artifact: Path, adapter: dict[str, Any], hypernet: dict[str, int], message: str
) -> None:
    loaded = Artifact.load(artifact)

    with pytest.raises(ValueError, match=message):
        loaded.frozen_core(
            TASKS, loaded.config.adapter.model_copy(update=adapter), HYPERNET.model_copy(update=hypernet)
        )


def test_the_order_in_which_a_run_names_the_modules_does_not_matter(artifact: Path) -> None:
    loaded = Artifact.load(artifact)

    loaded.frozen_core(TASKS, AdapterConfig(modules=("v", "q"), rank=2, alpha=6), HYPERNET)
