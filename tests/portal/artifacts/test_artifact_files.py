"""Files of an artifact from elsewhere: anything damaged or foreign is one line of refusal."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from portal.artifacts.artifact import Artifact
from portal.artifacts.portal_record import RECORD
from tests.support.artifacts import change_config, change_tensors, refusal
from tests.support.bases import TASKS


@pytest.fixture
def artifact(artifact: Path) -> Path:
    """A copy without a record of digests, as portallib and older versions write it."""
    (artifact / RECORD).unlink()
    return artifact


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_refused_by_name(artifact: Path, name: str) -> None:
    (artifact / name).unlink()

    assert name in refusal(artifact)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such artifact folder"):
        Artifact.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.4, 0.9, 0.9999])
def test_a_file_that_was_cut_short_is_refused(artifact: Path, name: str, kept: float) -> None:
    data = (artifact / name).read_bytes()
    (artifact / name).write_bytes(data[: int(kept * len(data.rstrip()))])

    refusal(artifact)


def attempt(folder: Path) -> tuple[Artifact | None, str]:
    """The artifact, or the message that refuses it."""
    try:
        return Artifact.load(folder), ""
    except ValueError as error:
        return None, str(error)


def same(one: Artifact, other: Artifact) -> bool:
    return one.tensors.keys() >= other.tensors.keys() and all(
        torch.equal(one.tensors[name], tensor) for name, tensor in other.tensors.items()
    )


def test_a_flipped_bit_in_the_weights_header_is_refused_or_harmless(artifact: Path, saved: Path) -> None:
    intact = Artifact.load(saved)
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


def test_a_newer_format_is_refused_by_name(artifact: Path) -> None:
    change_config(artifact, format_version=3)

    assert "format_version 3, this version of portal reads up to 2; update portal-sweeps" in refusal(artifact)


def test_a_key_that_format_2_does_not_know_is_refused_by_name(artifact: Path) -> None:
    change_config(artifact, format_version=2)
    Artifact.load(artifact)

    change_config(artifact, text_encoder="e5")

    assert "text_encoder is of a newer version of portal" in refusal(artifact)


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
    Artifact.load(artifact)


@pytest.mark.parametrize("name", ["core.A.k.weight", "alignment.input.k", "residual.q"])
def test_a_tensor_the_config_has_no_place_for_is_refused(artifact: Path, name: str) -> None:
    change_tensors(artifact, **{name: torch.zeros(2)})

    assert f"tensor {name} has no place" in refusal(artifact)


def test_keys_that_hub_tools_add_to_the_config_are_left_alone(artifact: Path) -> None:
    change_config(artifact, _commit_hash="abc")

    assert Artifact.load(artifact).config.tasks == TASKS
