"""Adapters equal merged weights, slot by slot, in any order of rows, and leave the base as it was."""

import copy
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from portal.bases import attention
from portal.bases.base import Base, load_base, with_fused_operations
from portal.bases.sites import MODULE_PATHS
from portal.forward.adapter_hooks import (
    AdapterHooks,
    RowAdapters,
    Segment,
    concatenate_slots,
    divide_rows,
    select_slots,
    with_aligned_rank,
)
from portal.forward.microbatch import LAYER_LAUNCHES, MODULE_LAUNCHES
from portal.forward.output_head import token_log_probs
from portal.hypernet import Factors
from portal.modules import ALL_MODULES
from tests.support.bases import make_base, make_uneven_base, random_factors, reads_of
from tests.support.launches import count_launches, no_attention, no_norm
from tests.support.precision import copy_in_fp32, in_bf16

ALL = tuple(MODULE_PATHS)
ROWS_PER_SLOT = 2


def token_ids(slots: int, length: int = 13) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(3, 100, (slots * ROWS_PER_SLOT, length), generator=generator)


def leaves_of(*factors: Factors) -> list[Tensor]:
    return [leaf.requires_grad_() for own in factors for pair in own.values() for leaf in pair]


def logits_of(base: Base, ids: Tensor) -> Tensor:
    return base.model(input_ids=ids, use_cache=False).logits


def injected_logits(base: Base, segments: list[Segment], ids: Tensor) -> Tensor:
    with AdapterHooks(base.model, base.sites).active(segments):
        return logits_of(base, ids)


def merged_logits(base: Base, segments: list[Segment], ids: Tensor) -> Tensor:
    """Each slot's rows by parameters W + scaling B A, differentiable in the factors."""
    weights, found = dict(base.model.named_parameters()), []
    paths = {(site.module, site.layer): site.path for site in base.sites}
    owners = [(segment, slot) for segment in segments for slot in range(segment.num_slots)]
    for (segment, slot), rows in zip(owners, ids.split(ROWS_PER_SLOT), strict=True):
        merged = {
            (name := f"{paths[group.module, layer]}.weight"): weights[name]
            + segment.scaling * b[slot, index] @ a[slot, index]
            for group, (a, b) in segment.factors.items()
            for index, layer in enumerate(group.layers)
        }
        found.append(functional_call(base.model, merged, kwargs={"input_ids": rows, "use_cache": False}))
    return torch.cat([each.logits for each in found])


def segment_of(base: Base, modules: tuple[str, ...], *, rank: int, slots: int, scaling: float) -> Segment:
    return Segment(slots, random_factors(base, modules, rank=rank, slots=slots, seed=rank), scaling)


@torch.no_grad()
def test_every_slot_equals_a_base_with_its_adapter_merged_whatever_shares_its_forward(any_base: Base) -> None:
    uneven = make_uneven_base("tiny")  # some of its layers have other widths
    several = [
        segment_of(any_base, ("q", "v"), rank=4, slots=2, scaling=2.0),
        segment_of(any_base, ALL, rank=2, slots=1, scaling=0.5),
        segment_of(any_base, ("v", "down"), rank=8, slots=1, scaling=0.25),
        segment_of(any_base, ("k",), rank=1, slots=2, scaling=1.0),
    ]
    for base, segments in (
        (any_base, [segment_of(any_base, ("q", "v"), rank=4, slots=3, scaling=0.5)]),
        (any_base, [segment_of(any_base, ALL, rank=4, slots=3, scaling=0.5)]),
        (any_base, several),
        (uneven, [segment_of(uneven, ALL, rank=2, slots=2, scaling=1.0)]),
    ):
        ids = token_ids(sum(segment.num_slots for segment in segments))
        expected = merged_logits(base, segments, ids)

        torch.testing.assert_close(injected_logits(base, segments, ids), expected, atol=1e-4, rtol=1e-4)

        assert ((logits_of(base, ids) - expected).abs().amax((1, 2)) > 0.02).all()
    assert len({group.d_out for group in segments[0].factors if group.module == "gate"}) == 2


@pytest.mark.parametrize("modules", [("q", "v"), ALL])
def test_the_factors_gradients_are_those_through_merged_weights_of_their_own_rows_alone(
    any_base: Base, modules: tuple[str, ...]
) -> None:
    segment = segment_of(any_base, modules, rank=3, slots=2, scaling=2.0)
    leaves, ids = leaves_of(segment.factors), token_ids(2)
    weight = torch.randn(len(ids), ids.shape[1], 128, generator=torch.Generator().manual_seed(9))

    injected = injected_logits(any_base, [segment], ids)
    found = torch.autograd.grad((injected * weight).sum(), leaves, retain_graph=True)
    of_first = torch.autograd.grad(injected[:ROWS_PER_SLOT].square().sum(), leaves, retain_graph=True)
    injected.sum().backward()

    expected = torch.autograd.grad((merged_logits(any_base, [segment], ids) * weight).sum(), leaves)
    for ours, theirs, first in zip(found, expected, of_first, strict=True):
        assert (theirs.flatten(2).norm(dim=-1) > 0).all()  # every slot and layer is reached
        assert (ours - theirs).norm() < 1e-4 * theirs.norm()
        assert first[0].norm() > 0 == first[1].norm()
    assert all(parameter.grad is None for parameter in any_base.model.parameters())


def test_hooks_that_align_ranks_add_the_same_updates_with_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, ids = make_base("tiny", "qwen3"), token_ids(3)
    other = segment_of(base, ("v",), rank=12, slots=1, scaling=2.0)
    hooks = [AdapterHooks(base.model, base.sites) for _ in range(2)]
    monkeypatch.setattr(hooks[1], "_aligns_ranks", True)
    for rank in (1, 2, 4, 8, 12):
        segment = segment_of(base, ("q", "down"), rank=rank, slots=2, scaling=0.5)
        leaves, found = leaves_of(segment.factors), []
        for each in hooks:
            with each.active([segment, other]):
                logits = logits_of(base, ids)
            found.append((logits, torch.autograd.grad(logits.square().mean(), leaves)))
        for a, b in (with_aligned_rank(*pair) for pair in segment.factors.values()):
            assert a.shape[2] == b.shape[3] == 8 * math.ceil(rank / 8)
        torch.testing.assert_close(found[1], found[0])


@torch.no_grad()
def test_the_base_is_as_before_after_the_block_or_an_error_in_it_and_where_nothing_is_added(
    any_base: Base,
) -> None:
    ids = token_ids(1)
    weights = copy.deepcopy(any_base.model.state_dict())
    plain = logits_of(any_base, ids)
    segment = segment_of(any_base, ALL, rank=2, slots=1, scaling=1.0)
    zeroed = {group: (a, torch.zeros_like(b)) for group, (a, b) in segment.factors.items()}

    assert not torch.equal(injected_logits(any_base, [segment], ids), plain)
    assert torch.equal(logits_of(any_base, ids), plain)
    assert torch.equal(injected_logits(any_base, [Segment(1, zeroed, 1.0)], ids), plain)
    assert torch.equal(injected_logits(any_base, [], ids), plain)
    hooks = AdapterHooks(any_base.model, any_base.sites)
    with pytest.raises(RuntimeError, match="stop"), hooks.active([segment]):
        raise RuntimeError("stop")

    assert torch.equal(logits_of(any_base, ids), plain)
    assert all(torch.equal(weights[name], tensor) for name, tensor in any_base.model.state_dict().items())
    assert not any(module._forward_hooks for module in any_base.model.modules())


def test_selected_slots_are_those_asked_for_in_their_order_and_concatenated_ones_follow_each_other() -> None:
    factors = random_factors(make_base("tiny", "qwen3"), ("q", "v"), rank=2, slots=3, seed=0)

    picked, first = select_slots(factors, [2, 0]), select_slots(factors, [0, 1])
    joined = concatenate_slots([picked, first])

    for group, pair in factors.items():
        for place, factor in enumerate(pair):
            assert torch.equal(picked[group][place], factor[[2, 0]])
            assert torch.equal(first[group][place], factor[:2])
            assert torch.equal(joined[group][place], factor[[2, 0, 0, 1]])
    assert select_slots(factors, [0, 1, 2]) is factors
    assert concatenate_slots([factors]) is factors


def test_recomputed_layers_give_the_same_loss_and_gradients_and_are_left_as_they_were(any_base: Base) -> None:
    ids = token_ids(2)
    found = []
    for recomputed in ((), any_base.layers):
        factors = random_factors(any_base, ALL, rank=2, slots=2, seed=1)
        leaves = leaves_of(factors)
        calls, layer = list[int](), any_base.model.get_submodule(any_base.layers[0]).mlp
        hooks = AdapterHooks(any_base.model, any_base.sites, recomputed=recomputed)
        counting = layer.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        with counting, hooks.active([Segment(2, factors, 1.0)]):
            loss = token_log_probs(any_base.model, ids, *reads_of([3, 7], [5, 6])).sum()
            gradients = torch.autograd.grad(loss, leaves)
        found.append((loss, gradients, len(calls)))

    (loss, gradients, once), (other_loss, other_gradients, twice) = found
    assert (once, twice) == (1, 2)
    assert torch.equal(loss, other_loss)
    assert all(map(torch.equal, gradients, other_gradients))
    assert "forward" not in vars(any_base.model.get_submodule(any_base.layers[0]))


def launches_of_layer(
    patch: pytest.MonkeyPatch, modules: tuple[str, ...], segments: int, family: str, *, fused: bool = False
) -> int:
    """Operations of a step per layer, in bf16, but for attention and fused norms: what a layer more adds."""
    bases = [in_bf16(make_base("base", family, layers=layers)) for layers in (1, 2)]
    bases = [with_fused_operations(base) for base in bases] if fused else bases
    patch.setattr(attention, "attend", sdpa_attention_forward)  # on a GPU it is transformers' own
    patch.setattr(nn.functional, "scaled_dot_product_attention", no_attention)
    patch.setattr(nn.functional, "rms_norm", no_norm)
    counts = []
    for base in bases:
        own = [random_factors(base, modules, rank=2, slots=1, seed=seed) for seed in range(segments)]
        parts = [Segment(1, factors, 2.0, 1 + place) for place, factors in enumerate(own)]
        leaves = leaves_of(*own)
        ids = torch.ones(sum(range(segments + 1)), 8, dtype=torch.long)

        def step() -> None:
            logits = injected_logits(base, parts, ids)  # noqa: B023
            torch.autograd.grad(logits.sum(), leaves)  # noqa: B023

        counts.append(count_launches(step).total())
    return counts[1] - counts[0]


def test_a_layer_takes_the_launches_that_planning_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    two, all_seven, more = (
        launches_of_layer(monkeypatch, modules, segments, "qwen3")
        for modules, segments in ((("q", "v"), 1), (ALL, 1), (("q", "v"), 3))
    )
    attention = 2  # one operation forward and one backward

    assert all_seven - two == 5 * MODULE_LAUNCHES
    assert more - two == 2 * (2 * (MODULE_LAUNCHES - 1) + 3)  # rows that are split are joined thrice
    assert two + attention == LAYER_LAUNCHES["plain"] + 2 * MODULE_LAUNCHES


@pytest.mark.parametrize(
    ("family", "norms", "expected"),
    [("qwen3", 4, (58, 156)), ("llama", 2, (56, 112)), ("gemma3", 6, (84, 222))],
)
def test_fused_operations_take_the_launches_that_planning_counts(
    family: str, norms: int, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attention and a norm are one operation forward and one backward."""
    fused = 2 + 2 * norms + launches_of_layer(monkeypatch, ("q", "v"), 1, family, fused=True)
    plain = 2 + launches_of_layer(monkeypatch, ("q", "v"), 1, family)

    assert (fused, plain) == expected
    if family == "qwen3":
        assert fused == LAYER_LAUNCHES["fused"] + 2 * MODULE_LAUNCHES


SLOTS = 5
Slots = Sequence[int | None]


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base("mini-qwen3-xs")


def logits(base: Base, count: int, length: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    ids_NT = torch.randint(base.text_config.vocab_size, (count, length), generator=generator)
    with torch.inference_mode():
        logits_NTV: Tensor = base.model(ids_NT).logits
    return logits_NTV.float()


def by_segments(base: Base, slots: Slots, scaling: float) -> Tensor:
    factors = random_factors(base, ALL_MODULES, rank=2, slots=SLOTS, seed=1)
    own = [
        Segment(1, {} if slot is None else select_slots(factors, [slot]), scaling, rows_per_slot=1)
        for slot in slots
    ]
    with AdapterHooks(base.model, base.sites).active(own):
        return logits(base, len(slots))


def by_rows(base: Base, slots: Slots, scaling: float) -> Tensor:
    factors = random_factors(base, ALL_MODULES, rank=2, slots=SLOTS, seed=1)
    with RowAdapters(base, factors, scaling).active(slots):
        return logits(base, len(slots))


@settings(max_examples=30)
@given(slots=st.lists(st.sampled_from([None, *range(SLOTS)]), min_size=1, max_size=9))
def test_every_row_has_the_adapter_of_its_slot_which_matters_and_is_gone_after_the_block(
    base: Base, slots: list[int | None]
) -> None:
    bare, adapted = logits(base, len(slots)), by_rows(base, slots, 0.5)

    torch.testing.assert_close(adapted, by_segments(base, slots, 0.5), rtol=0, atol=1e-4)
    changed = (adapted - bare).abs().amax((1, 2)) > 1e-3
    assert changed.tolist() == [slot is not None for slot in slots]
    with RowAdapters(base, {}, 1.0).active([None] * len(slots)):
        assert torch.equal(logits(base, len(slots)), bare)


@settings(max_examples=200)
@given(slots=st.lists(st.sampled_from([None, *range(140)]), min_size=1, max_size=64))
def test_parts_have_each_row_once_and_little_else(slots: list[int | None]) -> None:
    parts, named = divide_rows(slots), [row for row, slot in enumerate(slots) if slot is not None]
    if parts is None:
        assert not named
        return
    gathered = parts.gathered if parts.gathered is not None else tuple(range(len(slots)))
    back = parts.back if parts.back is not None else tuple(range(len(slots)))
    size = len(gathered) // len(parts.slots)

    assert len(gathered) <= 1.5 * len(named)
    assert [gathered[place] for place in back] == named
    assert [parts.slots[place // size] for place in back] == [slots[row] for row in named]
    assert (parts.adapted is None) == (len(named) == len(slots))


def test_slots_that_follow_one_another_are_not_copied() -> None:
    factor_S = torch.randn(6, 2)
    in_order, apart = divide_rows([1, 1, 2, 2, 3, 3]), divide_rows([5, 1, 5, 1])
    assert in_order is not None
    assert apart is not None

    assert in_order.gathered is None
    assert in_order.of(factor_S).data_ptr() == factor_S[1].data_ptr()
    assert torch.equal(apart.of(factor_S), factor_S[[1, 5]])


def test_factors_are_in_the_precision_of_the_base() -> None:
    base, slots = in_bf16(load_base("mini-qwen3-xs")), (0, 2, None, 0)
    exact = by_rows(copy_in_fp32(base), slots, 0.5)
    error = (by_rows(base, slots, 0.5) - exact).norm()

    assert 0 < error < 1.5 * (by_segments(base, slots, 0.5) - exact).norm()
    assert error < 0.05 * exact.norm()


def test_a_layer_that_takes_all_tokens_in_one_dimension_divides_them_by_rows(base: Base) -> None:
    factors = random_factors(base, ("q",), rank=2, slots=SLOTS, seed=1)
    (group, *_), slots = list(factors), (2, None, 0)
    (site,) = [site for site in base.sites if (site.module, site.layer) == (group.module, group.layers[0])]
    linear: nn.Module = base.model.get_submodule(site.path)
    x_NTI = torch.randn(len(slots), 5, group.d_in)
    with torch.inference_mode(), RowAdapters(base, factors, 0.5).active(slots):
        together, apart = linear(x_NTI.flatten(0, 1)), linear(x_NTI)

    torch.testing.assert_close(together, apart.flatten(0, 1))
    a_RI, b_OR = (each[2, 0] for each in factors[group])
    wanted = linear(x_NTI[0]) + 0.5 * x_NTI[0] @ a_RI.T @ b_OR.T
    torch.testing.assert_close(apart[0], wanted)
