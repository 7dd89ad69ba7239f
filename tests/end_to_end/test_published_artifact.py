"""Artifacts as the reference publishes them, named by hub id: from portallib, for bases of three families."""

from dataclasses import dataclass
from pathlib import Path

import portallib
import pytest
import torch
from portallib.config import PortalConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, MistralConfig, PretrainedConfig, Qwen3Config

from portal.artifacts.artifact import Artifact
from portal.bases.registry import known_bases
from portal.cli.app import main
from tests.support.bases import TASKS
from tests.support.zoo import tiny_config

pytestmark = pytest.mark.oracle
COMMIT = "1" * 40
HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
QWEN3_4B = Qwen3Config(
    vocab_size=151936, hidden_size=2560, num_hidden_layers=36, intermediate_size=9728, **HEADS
)
MISTRAL_7B = MistralConfig(
    vocab_size=32768, hidden_size=4096, num_hidden_layers=32, intermediate_size=14336, **HEADS
)


@dataclass(frozen=True)
class Published:
    """An artifact by the name of its hub repository's end, and its base: hub id, commit and shape."""

    name: str
    base: str
    revision: str
    shape: PretrainedConfig

    @property
    def hub_id(self) -> str:
        return f"RampPublic/portal-{self.name}"


def published_for(known: str, shape: PretrainedConfig) -> Published:
    """That of a base with a short name."""
    base = known_bases()[known]
    return Published(known, base.location, str(base.revision), shape)


ARTIFACTS = (
    published_for("qwen3-4b", QWEN3_4B),
    published_for("mistral-7b", MISTRAL_7B),
    # Of Gemma 4 E2B's kinds of layers, at toy width: layers of two widths, the last two without k and v.
    Published(
        "gemma-4-e2b",
        "google/gemma-4-E2B",
        "2" * 40,
        tiny_config("gemma4_text", num_kv_shared_layers=2, global_head_dim=16),
    ),
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache that holds the artifacts; their own widths are of toy size."""
    cache = tmp_path_factory.mktemp("hub")
    for each in ARTIFACTS:
        place = cache / f"models--{each.hub_id.replace('/', '--')}"
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(each.shape)
        config = PortalConfig.from_model(
            model, tasks=TASKS, base_model_name_or_path=each.base, base_model_revision=each.revision,
            rank=2, alpha=4, d_z=8, d_layer=4, hidden=8, d_core=8, allow_heterogeneous_targets=True,
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
def _offline(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is out of reach, its cache is not."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("published", ARTIFACTS, ids=lambda each: each.name)
def test_it_is_a_source_and_exports_its_adapters_without_its_base(
    published: Published, world: Path, tmp_path: Path
) -> None:
    """The adapters are those that portallib generates from it, for the layers that its base has."""
    port = ["port", published.hub_id, "--to", "tiny-gemma3", "--data", str(world / "data"), "--examples", "8"]

    assert main([*port, "--epochs", "1", "--out", str(tmp_path / "ported")]) == 0
    assert main(["export", published.hub_id, "--task", "sums", "--out", str(tmp_path / "adapter")]) == 0

    source, ported = Artifact.load(published.hub_id), Artifact.load(tmp_path / "ported" / "artifact")
    assert source.config.n_layers == published.shape.num_hidden_layers
    assert torch.equal(source.tensors["task_latents"], ported.tensors["task_latents"])
    for name, tensor in source.tensors.items():
        if name.startswith("core."):
            assert torch.equal(tensor, ported.tensors[name])
    peer = portallib.PortalModel.from_pretrained(published.hub_id)
    exported = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    check_widths(exported, published)
    theirs = peer.generate("sums")
    for target, path in peer.config.resolved_targets():
        for side, factor in zip("AB", theirs[target.layer_index, target.module_name], strict=True):
            ours = exported.pop(f"base_model.model.{path}.lora_{side}.weight")
            torch.testing.assert_close(ours, factor.T if ours.shape != factor.shape else factor)
    assert not exported
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert published.base in card
    assert published.revision in card


def check_widths(exported: dict[str, torch.Tensor], published: Published) -> None:
    """Factors of q and v of every layer have the widths of a base of the real size."""
    if published not in ARTIFACTS[:2]:
        return
    layers, width = published.shape.num_hidden_layers, published.shape.hidden_size
    assert len(exported) == layers * 2 * 2
    last = f"base_model.model.model.layers.{layers - 1}.self_attn"
    assert exported[f"{last}.q_proj.lora_A.weight"].shape == (2, width)
    assert exported[f"{last}.q_proj.lora_B.weight"].shape == (4096, 2)
    assert exported[f"{last}.v_proj.lora_B.weight"].shape == (1024, 2)


def test_one_that_the_hub_does_not_have_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "RampPublic/portal-none", "--task", "sums", "--out", str(tmp_path / "adapter")]

    assert main(command) == 2

    assert "artifact 'RampPublic/portal-none': cannot be read from" in capsys.readouterr().err
