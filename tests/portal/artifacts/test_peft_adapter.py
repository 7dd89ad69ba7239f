"""An exported adapter is a standard PEFT folder: its config, its tensors, its bytes.

peft finds what is adapted, and leaves namesakes alone. Adapters as GGUF files; `make serve-test` holds them
against llama.cpp's own conversion.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from transformers import AutoConfig

from portal.artifacts.adapted_base import check_export
from portal.artifacts.artifact import Artifact
from portal.artifacts.peft_adapter import exclusion, namesakes, target_of, write_gguf_adapter
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS, group_sites
from portal.config import AdapterConfig
from portal.forward.adapter_hooks import select_slots
from portal.hypernet import Factors
from portal.modules import ALL_MODULES
from tests.support.artifacts import export_random, write_artifact
from tests.support.bases import TASKS, make_base
from tests.support.zoo import tiny_base

ALL = AdapterConfig(modules=tuple(MODULE_PATHS), rank=4, alpha=6)


def test_the_config_is_the_portable_subset_with_sorted_targets_and_only_a_hub_commit_as_revision(
    tmp_path: Path,
) -> None:
    for revision, written in (("a" * 40, "a" * 40), ("b" * 64, None)):
        export_random(tmp_path / revision, replace(make_base("tiny", "qwen3"), revision=revision), ALL)
        config = json.loads((tmp_path / revision / "adapter_config.json").read_text())
        assert config["revision"] == written

    targets = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert config["target_modules"] == targets
    assert (config["peft_type"], config["task_type"]) == ("LORA", "CAUSAL_LM")
    assert (config["r"], config["lora_alpha"], config["lora_dropout"], config["bias"]) == (4, 6, 0.0, "none")
    assert config["base_model_name_or_path"] == "tiny"
    assert config["rank_pattern"] == config["alpha_pattern"] == {}
    assert not config["use_rslora"]
    assert not config["use_dora"]
    assert config["modules_to_save"] is None


def test_two_exports_of_the_same_factors_are_the_same_bytes(tmp_path: Path) -> None:
    base = make_base("tiny", "qwen3")
    export_random(tmp_path / "one", base, ALL)
    export_random(tmp_path / "two", base, ALL)

    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["README.md", "adapter_config.json", "adapter_model.safetensors", "portal_base.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_task_is_exported_from_an_artifact_without_loading_the_base(any_base: Base, tmp_path: Path) -> None:
    factors = write_artifact(tmp_path / "artifact", any_base, AdapterConfig(rank=2, alpha=400))

    for slot, task in enumerate(TASKS):
        Artifact.load(tmp_path / "artifact").export_peft(task, tmp_path / task)
        assert check_export(tmp_path / task, any_base, select_slots(factors, [slot]), 200.0) < 1e-4
        assert f"task `{task}`" in (tmp_path / task / "README.md").read_text()


def test_a_target_is_the_last_name_where_llama_has_it_else_the_path() -> None:
    assert target_of("self_attn.q_proj") == "q_proj"
    assert target_of("mlp.shared_expert.gate_proj") == "mlp.shared_expert.gate_proj"
    assert target_of("mixer.q_proj") == "mixer.q_proj"


def test_namesakes_of_what_is_adapted_and_towers_of_a_multimodal_model_are_left_alone() -> None:
    plain, gated = make_base("tiny", "llama"), tiny_base("dory")
    assert namesakes(plain, group_sites(plain.sites, ALL_MODULES)) == ()
    assert exclusion((), in_multimodal=False) is None
    found = namesakes(gated, group_sites(gated.sites, ALL_MODULES))
    assert found == ("self_attn.gate_proj",)

    alone, beside_towers = (exclusion(found, in_multimodal=each) for each in (False, True))

    assert re.fullmatch(alone, "base_model.model.model.layers.1.self_attn.gate_proj")
    assert not re.fullmatch(alone, "base_model.model.model.layers.1.mlp.gate_proj")
    assert re.fullmatch(beside_towers, "model.vision_tower.layers.0.self_attn.q_proj")
    assert re.fullmatch(beside_towers, "model.layers.0.self_attn.gate_proj")


ADAPTER = AdapterConfig(rank=2, alpha=6, modules=ALL_MODULES)


def as_gguf(base: Base, folder: Path) -> tuple[Factors, GGUFReader, dict[str, np.ndarray]]:
    """The factors of an adapter, and the file that is written of it with its tensors by name."""
    factors = export_random(folder / "adapter", base, ADAPTER)
    write_gguf_adapter(folder / "out.gguf", folder / "adapter", base.model.config)
    reader = GGUFReader(folder / "out.gguf")
    return factors, reader, {each.name: np.array(each.data) for each in reader.tensors}


def test_the_file_has_the_factors_as_they_are(tmp_path: Path) -> None:
    names = {"q": "attn_q", "o": "attn_output", "down": "ffn_down"}
    for family in ("qwen3", "gemma3"):
        base = make_base("tiny", family)
        factors, reader, found = as_gguf(base, tmp_path / family)

        assert len(found) == 2 * 7 * base.num_layers
        for group, (a, b) in factors.items():
            for index, layer in enumerate(group.layers if group.module in names else ()):
                name = f"blk.{layer}.{names[group.module]}.weight"
                assert np.array_equal(found[f"{name}.lora_a"], a[0, index])
                assert np.array_equal(found[f"{name}.lora_b"], b[0, index])
        assert reader.fields["general.type"].contents() == "adapter"
        assert reader.fields["adapter.lora.alpha"].contents() == 6


def test_rows_of_a_llamas_queries_and_keys_are_in_pairs(tmp_path: Path) -> None:
    """Of a head's rows 0..11, llama.cpp has 0, 6, 1, 7, ...: what is rotated together lies side by side."""
    factors, _, found = as_gguf(make_base("tiny", "llama"), tmp_path)

    firsts = {group.module: b[0, 0] for group, (_, b) in factors.items()}
    order = torch.tensor([half * 6 + place for place in range(6) for half in (0, 1)])
    for module, heads in (("q", 4), ("k", 2)):
        rows = torch.cat([order + 12 * head for head in range(heads)])
        assert np.array_equal(found[f"blk.0.attn_{module}.weight.lora_b"], firsts[module][rows])
    assert np.array_equal(found["blk.0.attn_v.weight.lora_b"], firsts["v"])


def test_bases_and_modules_without_a_name_in_gguf_and_altered_adapters_are_refused(tmp_path: Path) -> None:
    base, adapter = make_base("tiny", "qwen3"), tmp_path / "adapter"
    export_random(adapter, base, ADAPTER)
    unknown = r"the base is a gpt2, whose adapters are not written as GGUF; known: .*qwen3"
    phi3 = AutoConfig.for_model("phi3", num_hidden_layers=1)

    for config, message in ((AutoConfig.for_model("gpt2"), unknown), (phi3, "has no name in GGUF for phi3")):
        with pytest.raises(ValueError, match=message):
            write_gguf_adapter(tmp_path / "out.gguf", adapter, config)
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_alpha": 99}))
    with pytest.raises(ValueError, match="edited or damaged since"):
        write_gguf_adapter(tmp_path / "out.gguf", adapter, base.model.config)

    assert not list(tmp_path.glob("*.gguf*"))
    assert not list(tmp_path.glob(".*"))
