"""An artifact as the reference publishes them: from portallib, of Qwen3-4B's geometry, named by hub id."""

from pathlib import Path

import portallib
import pytest
import torch
from portallib.config import PortalConfig
from safetensors import safe_open
from transformers import AutoModelForCausalLM, Qwen3Config

from portal.artifacts.artifact import Artifact
from portal.bases.registry import KNOWN
from portal.cli.app import main
from tests.support.bases import TASKS

pytestmark = pytest.mark.oracle
HUB_ID = "RampPublic/portal-qwen3-4b"
COMMIT = "1" * 40
QWEN3_4B = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 9728,
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache that holds the artifact; its own widths are of toy size."""
    cache = tmp_path_factory.mktemp("hub")
    place = cache / f"models--{HUB_ID.replace('/', '--')}"
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(Qwen3Config(**QWEN3_4B))
    known = KNOWN["qwen3-4b"]
    config = PortalConfig.from_model(
        model, tasks=TASKS, base_model_name_or_path=known.location, base_model_revision=known.revision,
        rank=2, alpha=4, d_z=8, d_layer=4, hidden=8, d_core=8,
    )  # fmt: skip
    torch.manual_seed(0)
    peer = portallib.PortalModel(config, torch.randn(len(TASKS), 8))
    for weight in peer.core.B.values():
        torch.nn.init.normal_(weight.weight)
    peer.save_pretrained(place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    return cache


@pytest.fixture(autouse=True)
def _hub(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is out of reach, its cache is not."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(published))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_it_is_a_source_by_its_hub_id(world: Path, tmp_path: Path) -> None:
    command = ["port", HUB_ID, "--to", "tiny-gemma3", "--data", str(world / "data"), "--examples", "8"]

    assert main([*command, "--epochs", "1", "--out", str(tmp_path / "ported")]) == 0

    source, ported = Artifact.load(HUB_ID), Artifact.load(tmp_path / "ported" / "artifact")
    assert source.config.n_layers == 36
    assert torch.equal(source.tensors["task_latents"], ported.tensors["task_latents"])
    for name, tensor in source.tensors.items():
        if name.startswith("core."):
            assert torch.equal(tensor, ported.tensors[name])


def test_its_adapters_are_exported_without_its_base(tmp_path: Path) -> None:
    assert main(["export", HUB_ID, "--task", "sums", "--out", str(tmp_path / "adapter")]) == 0

    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert len(shapes) == 36 * 2 * 2
    last = "base_model.model.model.layers.35.self_attn"
    assert shapes[f"{last}.q_proj.lora_A.weight"] == (2, 2560)
    assert shapes[f"{last}.q_proj.lora_B.weight"] == (4096, 2)
    assert shapes[f"{last}.v_proj.lora_B.weight"] == (1024, 2)
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "Qwen/Qwen3-4B" in card
    assert str(KNOWN["qwen3-4b"].revision) in card


def test_one_that_the_hub_does_not_have_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "RampPublic/portal-none", "--task", "sums", "--out", str(tmp_path / "adapter")]

    assert main(command) == 2

    assert "artifact 'RampPublic/portal-none': cannot be read from" in capsys.readouterr().err
