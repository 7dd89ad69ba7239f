"""Artifacts come back as they were saved; anything damaged or foreign is one line of refusal."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from portal.artifacts.artifact import Artifact, load_artifact
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig
from tests.support.artifacts import HYPERNET, write_artifact
from tests.support.bases import TASKS, make_base, make_uneven_base

METADATA = {"format": "portallib", "format_version": "1"}


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


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError) as caught:
        load_artifact(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def change_config(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | changes))


def change_tensors(folder: Path, metadata: dict[str, str] = METADATA, **changes: torch.Tensor | None) -> None:
    tensors = load_file(folder / "model.safetensors") | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors", metadata=metadata)


@pytest.mark.parametrize("modules", [("v", "q"), tuple(MODULE_PATHS)])
def test_a_saved_artifact_generates_the_same_factors_bit_for_bit(
    any_base: Base, modules: tuple[str, ...], tmp_path: Path
) -> None:
    adapter = AdapterConfig(modules=modules, rank=3, alpha=5)
    factors = write_artifact(tmp_path, any_base, adapter)

    loaded = load_artifact(tmp_path)

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

    loaded = load_artifact(tmp_path)

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
    config = load_artifact(artifact).config

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
    loaded = load_artifact(artifact)

    latents, _ = loaded.frozen_core(chosen, loaded.config.adapter, loaded.config.hypernet)

    table = loaded.tensors["task_latents"]
    assert torch.equal(latents, torch.stack([table[TASKS.index(task)] for task in chosen]))


def test_an_unknown_task_is_refused_with_the_nearest_name(artifact: Path) -> None:
    loaded = load_artifact(artifact)

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
    loaded = load_artifact(artifact)

    with pytest.raises(ValueError, match=message):
        loaded.frozen_core(
            TASKS, loaded.config.adapter.model_copy(update=adapter), HYPERNET.model_copy(update=hypernet)
        )


def test_the_order_in_which_a_run_names_the_modules_does_not_matter(artifact: Path) -> None:
    loaded = load_artifact(artifact)

    loaded.frozen_core(TASKS, AdapterConfig(modules=("v", "q"), rank=2, alpha=6), HYPERNET)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_refused_by_name(artifact: Path, name: str) -> None:
    (artifact / name).unlink()

    assert name in refusal(artifact)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such artifact folder"):
        load_artifact(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.4, 0.9, 0.9999])
def test_a_file_that_was_cut_short_is_refused(artifact: Path, name: str, kept: float) -> None:
    data = (artifact / name).read_bytes()
    (artifact / name).write_bytes(data[: int(kept * len(data.rstrip()))])

    refusal(artifact)


def attempt(folder: Path) -> tuple[Artifact | None, str]:
    """The artifact, or the message that refuses it."""
    try:
        return load_artifact(folder), ""
    except ValueError as error:
        return None, str(error)


def same(one: Artifact, other: Artifact) -> bool:
    return one.tensors.keys() >= other.tensors.keys() and all(
        torch.equal(one.tensors[name], tensor) for name, tensor in other.tensors.items()
    )


def test_a_flipped_bit_in_the_weights_header_is_refused_or_harmless(artifact: Path, saved: Path) -> None:
    intact = load_artifact(saved)
    data = (saved / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    refused = 0

    for position in range(0, header, 5):
        altered = bytearray(data)
        altered[position] ^= 1 << position % 7
        (artifact / "model.safetensors").write_bytes(altered)
        loaded, message = attempt(artifact)
        assert "\n" not in message
        assert loaded is None or same(loaded, intact), f"byte {position} altered a tensor unnoticed"
        refused += loaded is None

    assert refused > 0.8 * header / 5


def test_a_flipped_bit_in_the_config_is_refused_or_still_a_config(artifact: Path, saved: Path) -> None:
    data = (saved / "config.json").read_bytes()
    refused = 0

    for position in range(0, len(data), 11):
        altered = bytearray(data)
        altered[position] ^= 1 << position % 7
        (artifact / "config.json").write_bytes(altered)
        loaded, message = attempt(artifact)
        assert "\n" not in message
        refused += loaded is None

    assert refused > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format_version"),
        ({"library_name": "peft"}, "library_name"),
        ({"architecture": "other"}, "architecture"),
        ({"tasks": []}, "tasks"),
        ({"n_layers": 2}, "projection target in layer 2 of 2"),
        ({"projection_targets": []}, "projection_targets"),
        ({"rank": 0}, "rank: .* (got 0)"),
    ],
)
def test_a_config_of_another_format_is_refused(artifact: Path, changes: dict[str, Any], message: str) -> None:
    change_config(artifact, **changes)

    text = refusal(artifact)
    assert "not a portable artifact" in text
    assert message.split(": .* ")[0] in text


@pytest.mark.parametrize("content", ["[]", "null", '"text"', "{}"])
def test_a_config_that_is_no_config_is_refused(artifact: Path, content: str) -> None:
    (artifact / "config.json").write_text(content)

    assert "not a portable artifact" in refusal(artifact)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_weights_of_another_format_are_refused(artifact: Path, metadata: dict[str, str] | None) -> None:
    save_file(load_file(artifact / "model.safetensors"), artifact / "model.safetensors", metadata=metadata)

    assert "not a portable artifact" in refusal(artifact)


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 3},
        {"d_z": 6},
        {"d_layer": 4},
        {"hidden": 7},
        {"d_core": 5},
        {"tasks": ["one", "two"]},
        {"n_layers": 4},
    ],
    ids=str,
)
def test_tensors_that_do_not_fit_the_config_are_refused(artifact: Path, changes: dict[str, Any]) -> None:
    change_config(artifact, **changes)

    assert " is expected" in refusal(artifact)


@pytest.mark.parametrize("name", ["task_latents", "core.film.weight", "alignment.output.v"])
def test_a_missing_misshapen_or_infinite_tensor_is_refused_by_name(artifact: Path, name: str) -> None:
    tensor = load_file(artifact / "model.safetensors")[name]

    change_tensors(artifact, **{name: None})
    assert f"tensor {name} is missing" in refusal(artifact)
    change_tensors(artifact, **{name: tensor[1:].clone()})
    assert f"tensor {name} has shape" in refusal(artifact)
    broken = tensor.clone()
    broken.view(-1)[-1] = math.inf
    change_tensors(artifact, **{name: broken})
    assert f"tensor {name} has values that are not finite" in refusal(artifact)
    change_tensors(artifact, **{name: tensor})
    load_artifact(artifact)


@pytest.mark.parametrize("name", ["core.A.k.weight", "alignment.input.k"])
def test_a_tensor_the_config_has_no_place_for_is_refused(artifact: Path, name: str) -> None:
    change_tensors(artifact, **{name: torch.zeros(2)})

    assert f"tensor {name} has no place" in refusal(artifact)


def test_keys_that_hub_tools_add_to_the_config_are_left_alone(artifact: Path) -> None:
    change_config(artifact, _commit_hash="abc")

    assert load_artifact(artifact).config.tasks == TASKS
