"""An exported adapter is a standard PEFT folder that gives the injected adapter's logits."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import nn

from portal.artifacts.adapted_base import check_export, peft_adapted
from portal.artifacts.peft_adapter import save_peft_adapter
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig
from portal.forward.adapter_hooks import AdapterHooks, Segment
from tests.support.artifacts import export_random
from tests.support.bases import make_base, make_uneven_base, random_factors
from tests.support.zoo import tiny_base

ALL = AdapterConfig(modules=tuple(MODULE_PATHS), rank=4, alpha=6)


@pytest.mark.parametrize("modules", [("q", "v"), tuple(MODULE_PATHS)])
def test_peft_reads_back_the_injected_adapter_and_leaves_the_base_as_it_was(
    any_base: Base, modules: tuple[str, ...], tmp_path: Path
) -> None:
    uneven, adapter = make_uneven_base("tiny"), AdapterConfig(modules=modules, rank=4, alpha=6)
    for base in (any_base, uneven):
        factors = export_random(tmp_path / base.name, base, adapter)
        before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}

        assert check_export(tmp_path / base.name, base, factors, adapter.scaling) < 1e-4

        torch.testing.assert_close(dict(base.model.state_dict()), before, rtol=0, atol=0)
        assert all(type(base.model.get_submodule(site.path)) is nn.Linear for site in base.sites)


@torch.no_grad()
def test_the_logits_of_a_reloaded_adapter_are_those_of_the_injected_one(tmp_path: Path) -> None:
    base = make_base("tiny", "gemma3")
    factors = export_random(tmp_path, base, ALL)
    ids = torch.arange(5, 25)[None]
    with AdapterHooks(base.model, base.sites).active([Segment(1, factors, ALL.scaling)]):
        injected = base.model(input_ids=ids).logits

    reloaded = PeftModel.from_pretrained(base.model, str(tmp_path))(input_ids=ids).logits

    torch.testing.assert_close(reloaded, injected, atol=1e-4, rtol=1e-4)


def test_an_adapter_that_changes_nothing_or_has_other_factors_than_the_injected_ones_is_refused(
    tmp_path: Path,
) -> None:
    base = make_base("tiny", "qwen3")
    factors = export_random(tmp_path / "random", base, ALL)
    zero = {group: (a, torch.zeros_like(b)) for group, (a, b) in factors.items()}
    save_peft_adapter(tmp_path / "zero", base=base, adapter=ALL, factors=zero, task="sums")
    other = random_factors(base, ALL.modules, rank=4, slots=1, seed=1)

    with pytest.raises(ValueError, match="the adapter changes nothing in base 'tiny'"):
        check_export(tmp_path / "zero", base, zero, ALL.scaling)
    with pytest.raises(ValueError, match="peft's logits differ from the injected adapter's by"):
        check_export(tmp_path / "random", base, other, ALL.scaling)


def test_an_adapter_of_which_peft_reads_only_a_part_is_refused(tmp_path: Path) -> None:
    base = make_base("tiny", "qwen3")
    factors = export_random(tmp_path, base, ALL)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if ".layers.2." not in name}
    save_file(kept, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})

    with (
        pytest.warns(UserWarning, match="missing adapter keys"),
        pytest.raises(ValueError, match="peft adapts 21 projections of 'tiny', the adapter has 14"),
    ):
        check_export(tmp_path, base, factors, ALL.scaling)
    assert all(type(base.model.get_submodule(site.path)) is nn.Linear for site in base.sites)


def test_an_adapter_may_be_stored_in_half_precision(any_base: Base, tmp_path: Path) -> None:
    export_random(tmp_path, any_base, ALL)
    path = tmp_path / "adapter_model.safetensors"
    whole = load_file(path)
    for stored in (torch.float16, torch.bfloat16):
        save_file({name: value.to(stored) for name, value in whole.items()}, path)
        with peft_adapted(any_base, tmp_path) as model:
            found = model.state_dict()
            for name, value in load_file(path).items():
                assert torch.equal(found[name.replace(".weight", ".default.weight")].float(), value.float())


def test_tensors_that_peft_renames_and_loses_are_told(tmp_path: Path) -> None:
    base = tiny_base("laguna")
    export_random(tmp_path, base, ALL)

    lost = pytest.raises(ValueError, match=r"peft does not load 18 of \d+ tensors, .*shared_experts")
    with lost, peft_adapted(base, tmp_path):
        pass
