"""Norms and rotations in fewer operations give what transformers gives, or stay as they are."""

import copy
import dataclasses
import logging
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama import modeling_llama

from portal.bases.base import Base, load_base, with_fused_operations
from portal.bases.operations import fuse_operations, rotate, usual_operations
from portal.forward.adapter_hooks import AdapterHooks, Segment
from portal.forward.losses import token_log_probs
from portal.modules import ALL_MODULES
from tests.support.bases import make_base, random_factors, reads_of
from tests.support.offload import divide_over_disk
from tests.support.precision import copy_in_fp32, cpu_with, in_bf16

ROUNDING = 2.0**-8
"""Of bf16."""


def fused_copy(base: Base) -> Base:
    return with_fused_operations(dataclasses.replace(base, model=copy.deepcopy(base.model)))


def loss_and_gradient(base: Base) -> tuple[Tensor, Tensor]:
    """Of adapters on all modules."""
    factors = random_factors(base, ALL_MODULES, rank=2, slots=2, seed=1)
    leaves = [leaf.requires_grad_() for pair in factors.values() for leaf in pair]
    ids = torch.randint(3, 100, (4, 13), generator=torch.Generator().manual_seed(3))
    with AdapterHooks(base.model, base.sites).active([Segment(2, factors, 1.0)]):
        losses = token_log_probs(base.model, ids, *reads_of([3, 7, 12], [5, 6, 7]))
        gradients = torch.autograd.grad(losses.sum(), leaves)
    return losses.detach(), torch.cat([each.flatten().float() for each in gradients])


def off(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def test_a_base_computes_the_same_in_fp32(any_base: Base) -> None:
    fused = fused_copy(any_base)
    replaced = {type(each).__name__ for each in fused.model.modules() if "forward" in vars(each)}

    pairs = zip(loss_and_gradient(fused), loss_and_gradient(any_base), strict=True)

    assert all(off(found, expected) < 1e-5 for found, expected in pairs)
    assert len(replaced) == 2  # norms and attention layers
    assert fused.operations == "fused"
    assert not any("forward" in vars(each) for each in any_base.model.modules())


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma3"])
def test_in_bf16_it_is_no_further_from_fp32_than_the_plain_base(family: str) -> None:
    apart = []
    for seed in range(4):
        base = in_bf16(make_base(family, family, hidden=64, seed=seed))
        exact = loss_and_gradient(copy_in_fp32(base))
        plain, fused = loss_and_gradient(base), loss_and_gradient(fused_copy(base))
        apart.append([[off(*pair) for pair in zip(each, exact, strict=True)] for each in (fused, plain)])

    (losses, gradients), (plain_losses, plain_gradients) = torch.tensor(apart).mean(0).tolist()
    assert losses < 1.2 * plain_losses
    assert gradients < 1.2 * plain_gradients


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rotation_and_its_gradient_are_those_of_transformers(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 7, heads, 8, generator=draw, dtype=dtype).transpose(1, 2) for heads in (4, 2))
    angles = (6.0 * torch.rand(2, 7, 4, generator=draw)).repeat(1, 1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    weights = [torch.randn(each.shape, generator=draw, dtype=dtype) for each in (q, k)]

    def results(rotated: Any) -> list[Tensor]:
        leaves = [each.clone().requires_grad_() for each in (q, k)]
        turned = rotated(*leaves, cos, sin)
        total = sum((each * weight).sum() for each, weight in zip(turned, weights, strict=True))
        return [*(each.detach() for each in turned), *torch.autograd.grad(total, leaves)]

    for ours, theirs in zip(results(rotate), results(modeling_llama.apply_rotary_pos_emb), strict=True):
        assert ours.dtype == theirs.dtype
        assert off(ours, theirs) < (1e-6 if dtype == torch.float32 else ROUNDING)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_families_that_turn_a_part_of_the_width_or_in_another_precision_compute_the_same(
    dtype: torch.dtype,
) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0}
    ids = torch.randint(1, 64, (2, 9), generator=torch.Generator().manual_seed(1))
    half = {"partial_rotary_factor": 0.5}
    for family, settings in {"olmo2": {}, "nemotron": half, "glm4_moe": half}.items():
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **sizes, **heads, **settings)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
        model.requires_grad_(False)
        expected = model(ids, use_cache=False).logits

        fuse_operations(model)

        found = model(ids, use_cache=False).logits
        assert found.dtype == expected.dtype
        assert off(found, expected) < (1e-5 if dtype == torch.float32 else 4 * ROUNDING)


class OddRMSNorm(nn.Module):
    """A norm with a bias, which none of the replacements has."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.rms_norm(x, x.shape[-1:], self.weight, self.eps) + 0.01


class WiderRMSNorm(nn.Module):
    """A norm that is made of more than a width."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.weight, self.groups = nn.Parameter(torch.ones(width)), groups

    def forward(self, x: Tensor) -> Tensor:
        return x


def apply_rotary_pos_emb(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Of neighbouring values, as some families have it."""
    first, second = q[..., ::2], q[..., 1::2]
    del k, cos, sin
    return first, second


class OddAttention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return apply_rotary_pos_emb(x, x, x, x)[0]


def test_what_is_not_alike_keeps_its_own_operations_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.ModuleList([OddRMSNorm(4), WiderRMSNorm(4, 2), OddAttention(), nn.LayerNorm(4)])

    with caplog.at_level(logging.WARNING, logger="portal.bases.operations"):
        assert fuse_operations(model) == 0

    assert not any("forward" in vars(each) for each in model)
    (record,) = caplog.records
    assert record.getMessage().endswith("own operations: OddAttention, OddRMSNorm, WiderRMSNorm")


def test_an_input_of_another_precision_than_the_weights_goes_the_old_way() -> None:
    norm = modeling_llama.LlamaRMSNorm(8).to(torch.bfloat16).requires_grad_(False)
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    expected = norm(x)

    fuse_operations(norm)

    assert "forward" in vars(norm)
    assert torch.equal(norm(x), expected)


def test_a_base_that_is_divided_keeps_what_places_its_parts(tmp_path: Path) -> None:
    whole, divided = make_base("tiny", "gemma3"), make_base("tiny", "gemma3")
    divide_over_disk(divided, tmp_path)
    ids = torch.arange(3, 15)[None]

    assert fuse_operations(divided.model) == fuse_operations(whole.model) > 0

    assert divided.model.model.layers[-1].input_layernorm.weight.is_meta  # read when it is its turn
    assert torch.equal(divided.model(ids).logits, whole.model(ids).logits)


def test_they_are_fused_on_a_gpu_and_in_bf16_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PORTAL_OPERATIONS", raising=False)
    for dtype, on_gpu in product((torch.float32, torch.bfloat16), (False, True)):
        fused = on_gpu or dtype == torch.bfloat16
        assert usual_operations(dtype, on_gpu=on_gpu) == ("fused" if fused else "plain")
    assert load_base("mini-qwen3-xs").operations == "plain"
    assert load_base("mini-qwen3-xs", operations="fused").operations == "fused"

    monkeypatch.setenv("PORTAL_OPERATIONS", "plain")
    assert usual_operations(torch.bfloat16, on_gpu=True) == "plain"
    monkeypatch.setenv("PORTAL_OPERATIONS", "fused")
    assert load_base("mini-qwen3-xs").operations == "fused"
    monkeypatch.setenv("PORTAL_OPERATIONS", "fussed")
    with pytest.raises(ValueError, match="unknown PORTAL_OPERATIONS 'fussed'; did you mean 'fused'"):
        usual_operations(torch.float32, on_gpu=False)


def test_a_base_in_bf16_is_loaded_with_fused_ones_unless_plain_ones_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PORTAL_OPERATIONS", raising=False)
    with cpu_with("avx512_bf16"):
        assert load_base("mini-qwen3-xs", precision="bf16").operations == "fused"
        monkeypatch.setenv("PORTAL_OPERATIONS", "plain")
        assert load_base("mini-qwen3-xs", precision="bf16").operations == "plain"
