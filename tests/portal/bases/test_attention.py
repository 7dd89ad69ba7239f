"""Attention of bf16 bases on a CPU: forward transformers' own, backward in fp32."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from portal.bases import attention
from portal.bases.attention import CpuInterfaces, attend
from portal.bases.operations import INTERFACES, fuse_operations
from tests.support.bases import make_base
from tests.support.precision import in_bf16

ROWS, HEADS, SHARED, TOKENS, WIDTH = 3, 6, 3, 17, 16
LAYER = SimpleNamespace(num_key_value_groups=SHARED, is_causal=True)
_CAUSAL = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril().expand(ROWS, 1, TOKENS, TOKENS)
_WINDOW = _CAUSAL & ~torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril(-5)
_MASKS = {
    "none": None,
    "booleans": _WINDOW,
    "numbers": torch.zeros(ROWS, 1, TOKENS, TOKENS).masked_fill(~_WINDOW, float("-inf")).bfloat16(),
}


def inputs(dtype: torch.dtype = torch.bfloat16, *, seed: int = 0, wants: bool = True) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    heads = HEADS, HEADS // SHARED, HEADS // SHARED
    drawn = [torch.randn(ROWS, each, TOKENS, WIDTH, generator=draw).bfloat16() for each in heads]
    return [each.to(dtype).requires_grad_(wants) for each in drawn]


def gradients(function: Any, dtype: torch.dtype, mask: Tensor | None, *, seed: int) -> Tensor:
    leaves = inputs(dtype, seed=seed)
    out, _ = function(LAYER, *leaves, mask if mask is None or mask.dtype == torch.bool else mask.to(dtype))
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed + 1)).bfloat16()
    found = torch.autograd.grad(out, leaves, weights.to(dtype))
    return torch.cat([each.double().flatten() for each in found])


@pytest.mark.parametrize("mask", _MASKS.values(), ids=_MASKS)
@pytest.mark.parametrize("scaling", [None, 0.5])
def test_the_forward_is_that_of_transformers_to_the_last_bit(
    mask: Tensor | None, scaling: float | None
) -> None:
    ours, _ = attend(LAYER, *inputs(), mask, scaling=scaling)
    theirs, _ = sdpa_attention_forward(LAYER, *inputs(), mask, scaling=scaling)  # type: ignore[arg-type]

    assert ours.grad_fn is not None
    assert ours.shape == (ROWS, TOKENS, HEADS, WIDTH)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("mask", _MASKS.values(), ids=_MASKS)
def test_gradients_are_closer_to_those_of_fp32_than_torchs_own(mask: Tensor | None) -> None:
    apart = []
    for seed in range(4):
        exact = gradients(sdpa_attention_forward, torch.float32, mask, seed=seed)
        both = (
            gradients(function, torch.bfloat16, mask, seed=seed)
            for function in (attend, sdpa_attention_forward)
        )
        apart.append([float((each - exact).norm() / exact.norm()) for each in both])

    ours, theirs = torch.tensor(apart).mean(0).tolist()
    assert ours < theirs
    assert ours < 0.01


def test_a_row_beside_others_has_the_gradient_it_has_alone() -> None:
    together = inputs()
    out, _ = attend(LAYER, *together, None)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    expected = torch.autograd.grad(out, together, weights)
    alone = [each.detach()[1:2].clone().requires_grad_() for each in inputs()]

    out, _ = attend(LAYER, *alone, None)

    pairs = zip(torch.autograd.grad(out, alone, weights[1:2]), expected, strict=True)
    assert all(torch.equal(own, whole[1:2]) for own, whole in pairs)


def test_what_it_is_not_made_for_is_left_to_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_FORWARD", None)  # what would be called otherwise
    drawn = torch.randn(ROWS, 1, TOKENS, TOKENS, generator=torch.Generator().manual_seed(5))
    query, key, value = inputs()
    for q, k, v, mask in (
        (*inputs(torch.float32), None),
        (*inputs(wants=False), None),
        (query[:, :, -1:], key, value, None),  # one new token
        (query, key, value[..., :8], None),
        (query, key, torch.stack([value, value], dim=-1)[..., 0], None),  # strided
        (query, key, value, drawn),  # a mask in fp32
        (query, key, value, drawn.bfloat16().requires_grad_()),
    ):
        ours, _ = attend(LAYER, q, k, v, mask)

        theirs, _ = sdpa_attention_forward(LAYER, q, k, v, mask)  # type: ignore[arg-type]
        assert torch.equal(ours, theirs)
        leaves = [each for each in (q, k, v, mask) if each is not None and each.requires_grad]
        if leaves:
            pairs = zip(*(torch.autograd.grad(each.sum(), leaves) for each in (ours, theirs)), strict=True)
            assert all(torch.equal(*pair) for pair in pairs)


def test_what_changes_the_attention_is_passed_on_to_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: dict[str, Any] = {}

    def theirs(*_: Any, **named: Any) -> tuple[Tensor, None]:
        passed.update(named)
        return torch.zeros(1), None

    monkeypatch.setattr(attention, "sdpa_attention_forward", theirs)
    for name in ("softcap", "s_aux", "position_bias"):
        attend(LAYER, *inputs(), None, scaling=0.5, **{name: 3.0})
        assert (passed.pop(name), passed.pop("scaling")) == (3.0, 0.5)


def test_other_attention_than_sdpa_is_that_of_the_family() -> None:
    table, own = CpuInterfaces(ALL_ATTENTION_FUNCTIONS), object()

    assert table.get_interface("sdpa", own) is table["sdpa"] is attend
    assert table.get_interface("eager", own) is own
    assert table["flex_attention"] is ALL_ATTENTION_FUNCTIONS["flex_attention"]
    assert table.get_interface("flex_attention", own) is ALL_ATTENTION_FUNCTIONS["flex_attention"]


def test_attention_layers_in_bf16_look_it_up() -> None:
    for family in ("qwen3", "llama", "gemma3"):
        for base, looks in ((in_bf16(make_base(family, family)), True), (make_base(family, family), False)):
            fuse_operations(base.model)
            layers = [each for each in base.model.modules() if type(each).__name__.endswith("Attention")]
            tables = [vars(each)["forward"].__func__.__globals__[INTERFACES] for each in layers]
            assert [isinstance(table, CpuInterfaces) for table in tables] == [looks] * base.num_layers
