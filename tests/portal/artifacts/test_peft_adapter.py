"""An exported adapter is a standard PEFT folder that gives the injected adapter's logits."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from portal.artifacts.adapted_base import check_export
from portal.artifacts.artifact import Artifact
from portal.artifacts.peft_adapter import save_peft_adapter
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig
from portal.forward.adapter_hooks import AdapterHooks, Segment, select_slots
from portal.hypernet import Factors
from tests.support.artifacts import write_artifact
from tests.support.bases import TASKS, make_base, make_uneven_base, random_factors

ALL = AdapterConfig(modules=tuple(MODULE_PATHS), rank=4, alpha=6)


def export(folder: Path, base: Base, adapter: AdapterConfig, *, seed: int = 0) -> Factors:
    factors = random_factors(base, adapter.modules, rank=adapter.rank, slots=1, seed=seed)
    save_peft_adapter(folder, base=base, adapter=adapter, factors=factors, task="sums")
    return factors


@pytest.mark.parametrize("modules", [("q", "v"), tuple(MODULE_PATHS)])
def test_peft_reads_back_the_injected_adapter(
    any_base: Base, modules: tuple[str, ...], tmp_path: Path
) -> None:
    adapter = AdapterConfig(modules=modules, rank=4, alpha=6)
    factors = export(tmp_path, any_base, adapter)

    difference = check_export(tmp_path, any_base, factors, adapter.scaling)

    assert difference < 1e-4


@torch.no_grad()
def test_the_logits_of_a_reloaded_adapter_are_those_of_the_injected_one(tmp_path: Path) -> None:
    base = make_base("tiny", "gemma3")
    factors = export(tmp_path, base, ALL)
    ids = torch.arange(5, 25)[None]
    with AdapterHooks(base.model, base.sites).active([Segment(1, factors, ALL.scaling)]):
        injected = base.model(input_ids=ids).logits

    reloaded = PeftModel.from_pretrained(base.model, str(tmp_path))(input_ids=ids).logits

    torch.testing.assert_close(reloaded, injected, atol=1e-4, rtol=1e-4)


def test_layers_of_unequal_widths_are_exported_too(tmp_path: Path) -> None:
    base = make_uneven_base("tiny")
    factors = export(tmp_path, base, ALL)

    assert check_export(tmp_path, base, factors, ALL.scaling) < 1e-4


def test_the_check_leaves_the_base_as_it_was(any_base: Base, tmp_path: Path) -> None:
    factors = export(tmp_path, any_base, ALL)
    before = {name: tensor.clone() for name, tensor in any_base.model.state_dict().items()}

    check_export(tmp_path, any_base, factors, ALL.scaling)

    after = any_base.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    assert all(type(any_base.model.get_submodule(site.path)) is nn.Linear for site in any_base.sites)


def test_an_adapter_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    base = make_base("tiny", "qwen3")
    zero = {
        group: (a, torch.zeros_like(b))
        for group, (a, b) in random_factors(base, ALL.modules, rank=4, slots=1, seed=0).items()
    }
    save_peft_adapter(tmp_path, base=base, adapter=ALL, factors=zero, task="sums")

    with pytest.raises(ValueError, match="the adapter changes nothing in base 'tiny'"):
        check_export(tmp_path, base, zero, ALL.scaling)


def test_an_adapter_with_other_factors_than_the_injected_ones_is_refused(tmp_path: Path) -> None:
    base = make_base("tiny", "qwen3")
    export(tmp_path, base, ALL)
    other = random_factors(base, ALL.modules, rank=4, slots=1, seed=1)

    with pytest.raises(ValueError, match="peft's logits differ from the injected adapter's by"):
        check_export(tmp_path, base, other, ALL.scaling)


def test_an_adapter_of_which_peft_reads_only_a_part_is_refused(tmp_path: Path) -> None:
    base = make_base("tiny", "qwen3")
    factors = export(tmp_path, base, ALL)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if ".layers.2." not in name}
    save_file(kept, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})

    with (
        pytest.warns(UserWarning, match="missing adapter keys"),
        pytest.raises(ValueError, match="peft adapts 21 projections of 'tiny', the adapter has 14"),
    ):
        check_export(tmp_path, base, factors, ALL.scaling)
    assert all(type(base.model.get_submodule(site.path)) is nn.Linear for site in base.sites)


def test_the_config_is_the_portable_subset_with_sorted_targets(tmp_path: Path) -> None:
    export(tmp_path, make_base("tiny", "qwen3"), ALL)

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

    export(tmp_path, base, AdapterConfig(rank=2))

    assert json.loads((tmp_path / "adapter_config.json").read_text())["revision"] == written


def test_the_tensor_names_and_shapes_are_exactly_pefts(tmp_path: Path) -> None:
    base = make_base("tiny", "qwen3")
    export(tmp_path, base, AdapterConfig(modules=("down", "q"), rank=4))

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
    export(tmp_path / "one", base, ALL)
    export(tmp_path / "two", base, ALL)

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
