"""An exported adapter is a standard PEFT folder: its config, its tensors, its bytes."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from portal.artifacts.adapted_base import check_export
from portal.artifacts.artifact import Artifact
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig
from portal.forward.adapter_hooks import select_slots
from tests.support.artifacts import export_random, write_artifact
from tests.support.bases import TASKS, make_base

ALL = AdapterConfig(modules=tuple(MODULE_PATHS), rank=4, alpha=6)


def test_the_config_is_the_portable_subset_with_sorted_targets(tmp_path: Path) -> None:
    export_random(tmp_path, make_base("tiny", "qwen3"), ALL)

    config = json.loads((tmp_path / "adapter_config.json").read_text())

    targets = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert config["target_modules"] == targets
    assert (config["peft_type"], config["task_type"]) == ("LORA", "CAUSAL_LM")
    assert (config["r"], config["lora_alpha"], config["lora_dropout"], config["bias"]) == (4, 6, 0.0, "none")
    assert config["base_model_name_or_path"] == "tiny"
    assert config["rank_pattern"] == config["alpha_pattern"] == {}
    assert not config["use_rslora"]
    assert not config["use_dora"]
    assert config["modules_to_save"] is None


@pytest.mark.parametrize(("revision", "written"), [("a" * 40, "a" * 40), ("b" * 64, None)])
def test_only_a_hub_commit_is_written_as_revision(tmp_path: Path, revision: str, written: str | None) -> None:
    base = make_base("tiny", "qwen3")
    object.__setattr__(base, "revision", revision)

    export_random(tmp_path, base, AdapterConfig(rank=2))

    assert json.loads((tmp_path / "adapter_config.json").read_text())["revision"] == written


def test_the_tensor_names_and_shapes_are_exactly_pefts(tmp_path: Path) -> None:
    base = make_base("tiny", "qwen3")
    export_random(tmp_path, base, AdapterConfig(modules=("down", "q"), rank=4))

    with safe_open(tmp_path / "adapter_model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    expected = {}
    for layer in range(3):
        prefix = f"base_model.model.model.layers.{layer}"
        expected |= {
            f"{prefix}.self_attn.q_proj.lora_A.weight": (4, 24),
            f"{prefix}.self_attn.q_proj.lora_B.weight": (48, 4),
            f"{prefix}.mlp.down_proj.lora_A.weight": (4, 56),
            f"{prefix}.mlp.down_proj.lora_B.weight": (24, 4),
        }
    assert shapes == expected


def test_two_exports_of_the_same_factors_are_the_same_bytes(tmp_path: Path) -> None:
    base = make_base("tiny", "qwen3")
    export_random(tmp_path / "one", base, ALL)
    export_random(tmp_path / "two", base, ALL)

    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["README.md", "adapter_config.json", "adapter_model.safetensors", "portal_base.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_exported_from_an_artifact_without_loading_the_base(
    any_base: Base, task: str, tmp_path: Path
) -> None:
    factors = write_artifact(tmp_path / "artifact", any_base, AdapterConfig(rank=2, alpha=400))
    own = select_slots(factors, [TASKS.index(task)])

    Artifact.load(tmp_path / "artifact").export_peft(task, tmp_path / "adapter")

    assert check_export(tmp_path / "adapter", any_base, own, 200.0) < 1e-4
    assert f"task `{task}`" in (tmp_path / "adapter" / "README.md").read_text()
