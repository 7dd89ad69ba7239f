"""Adapters equal merged weights, slot by slot, in any order of rows, and leave the base as it was."""

import copy
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
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
from tests.support.precision import copy_in_fp32, in_bf16, needs_bf16

ALL = tuple(MODULE_PATHS)
ROWS_PER_SLOT = 2


def token_ids(slots: int, length: int = 13) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(3, 100, (slots * ROWS_PER_SLOT, length), generator=generator)


def sites_of(base: Base, factors: Factors) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(path, A of all slots, B of all slots) of every adapted linear."""
    paths = {(site.module, site.layer): site.path for site in base.sites}
    for group, (a, b) in factors.items():
        for index, layer in enumerate(group.layers):
            yield paths[group.module, layer], a[:, index], b[:, index]


def merged_weights(base: Base, factors: Factors, slot: int, scaling: float) -> dict[str, Tensor]:
    """The parameters W + scaling B A of one slot, differentiable in the factors."""
    weights = dict(base.model.named_parameters())
    return {
        f"{path}.weight": weights[f"{path}.weight"] + scaling * b[slot] @ a[slot]
        for path, a, b in sites_of(base, factors)
    }


def merged_logits(base: Base, factors: Factors, slot: int, scaling: float, ids: Tensor) -> Tensor:
    merged = merged_weights(base, factors, slot, scaling)
    return functional_call(base.model, merged, kwargs={"input_ids": ids, "use_cache": False}).logits


def logits_of(base: Base, ids: Tensor) -> Tensor:
    return base.model(input_ids=ids, use_cache=False).logits


def injected_logits(base: Base, segments: list[Segment], ids: Tensor) -> Tensor:
    with AdapterHooks(base.model, base.sites).active(segments):
        return logits_of(base, ids)


@pytest.mark.parametrize("modules", [("q", "v"), ALL])
@torch.no_grad()
def test_every_slot_equals_a_base_with_its_adapter_merged(any_base: Base, modules: tuple[str, ...]) -> None:
    factors = random_factors(any_base, modules, rank=4, slots=3, seed=0)
    ids = token_ids(3)

    injected = injected_logits(any_base, [Segment(3, factors, 0.5)], ids)

    plain = logits_of(any_base, ids)
    for slot, rows in enumerate(torch.arange(len(ids)).split(ROWS_PER_SLOT)):
        expected = merged_logits(any_base, factors, slot, 0.5, ids[rows])
        torch.testing.assert_close(injected[rows], expected, atol=1e-4, rtol=1e-4)
        assert (plain[rows] - expected).abs().max() > 0.1


@pytest.mark.parametrize("modules", [("q", "v"), ALL])
def test_the_factors_gradients_are_those_through_merged_weights(
    any_base: Base, modules: tuple[str, ...]
) -> None:
    factors = random_factors(any_base, modules, rank=3, slots=2, seed=1)
    leaves = [leaf.requires_grad_() for pair in factors.values() for leaf in pair]
    ids = token_ids(2)
    weight = torch.randn(len(ids), ids.shape[1], 128, generator=torch.Generator().manual_seed(9))

    injected = torch.autograd.grad(
        (injected_logits(any_base, [Segment(2, factors, 2.0)], ids) * weight).sum(), leaves
    )

    merged = torch.cat(
        [merged_logits(any_base, factors, slot, 2.0, ids[2 * slot : 2 * slot + 2]) for slot in range(2)]
    )
    expected = torch.autograd.grad((merged * weight).sum(), leaves)
    for ours, theirs in zip(injected, expected, strict=True):
        assert (theirs.flatten(2).norm(dim=-1) > 0).all()  # every slot and layer is reached
        assert (ours - theirs).norm() < 1e-4 * theirs.norm()


@pytest.mark.parametrize("rank", [1, 2, 4, 8, 12])
def test_factors_of_an_aligned_rank_are_the_same_adapter_with_the_same_gradients(rank: int) -> None:
    base, ids = make_base("tiny", "qwen3"), token_ids(2)
    factors = random_factors(base, ("q", "down"), slots=2, rank=rank, seed=1)
    leaves = [leaf.requires_grad_() for pair in factors.values() for leaf in pair]
    aligned = {group: with_aligned_rank(*pair) for group, pair in factors.items()}
    logits, gradients = [], []
    for each in (factors, aligned):
        with AdapterHooks(base.model, base.sites).active([Segment(2, each, 0.5)]):
            logits.append(logits_of(base, ids))
        gradients.append(torch.autograd.grad(logits[-1].square().mean(), leaves))

    assert {a.shape[2] for a, _ in aligned.values()} == {b.shape[3] for _, b in aligned.values()}
    assert {a.shape[2] % 8 for a, _ in aligned.values()} == {0}
    torch.testing.assert_close(logits[1], logits[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_hooks_that_align_ranks_add_the_same_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    base, ids = make_base("tiny", "qwen3"), token_ids(3)
    two = random_factors(base, ("q", "down"), slots=2, rank=2, seed=1)
    twelve = random_factors(base, ("v",), slots=1, rank=12, seed=2)
    segments = [Segment(2, two, 0.5), Segment(1, twelve, 2.0)]
    plain, aligned = (AdapterHooks(base.model, base.sites) for _ in range(2))
    monkeypatch.setattr(aligned, "_aligns_ranks", True)
    found = []
    for hooks in (plain, aligned):
        with hooks.active(segments):
            found.append(logits_of(base, ids))

    torch.testing.assert_close(found[1], found[0])
    assert not torch.allclose(found[0], logits_of(base, ids))


def test_a_slot_takes_no_gradient_from_the_rows_of_another() -> None:
    base = make_base("tiny", "qwen3")
    factors = random_factors(base, ("q", "v"), rank=3, slots=2, seed=1)
    leaves = [leaf.requires_grad_() for pair in factors.values() for leaf in pair]

    logits = injected_logits(base, [Segment(2, factors, 2.0)], token_ids(2))
    gradients = torch.autograd.grad(logits[:ROWS_PER_SLOT].square().sum(), leaves)

    for gradient in gradients:
        assert gradient[0].norm() > 0
        assert gradient[1].norm() == 0


def test_the_frozen_weights_take_no_gradient() -> None:
    base = make_base("tiny", "gemma3")
    factors = random_factors(base, ALL, rank=2, slots=1, seed=1)
    for pair in factors.values():
        for leaf in pair:
            leaf.requires_grad_()

    injected_logits(base, [Segment(1, factors, 1.0)], token_ids(1)).sum().backward()

    assert all(parameter.grad is None for parameter in base.model.parameters())


@torch.no_grad()
def test_segments_of_several_ranks_and_modules_share_one_forward(any_base: Base) -> None:
    segments = [
        Segment(2, random_factors(any_base, ("q", "v"), rank=4, slots=2, seed=0), 2.0),
        Segment(1, random_factors(any_base, ALL, rank=2, slots=1, seed=1), 0.5),
        Segment(1, random_factors(any_base, ("v", "down"), rank=8, slots=1, seed=2), 0.25),
        Segment(2, random_factors(any_base, ("k",), rank=1, slots=2, seed=3), 1.0),
    ]
    ids = token_ids(6)

    injected = injected_logits(any_base, segments, ids)

    owners = [(segment, slot) for segment in segments for slot in range(segment.num_slots)]
    for (segment, slot), rows in zip(owners, torch.arange(len(ids)).split(ROWS_PER_SLOT), strict=True):
        expected = merged_logits(any_base, segment.factors, slot, segment.scaling, ids[rows])
        torch.testing.assert_close(injected[rows], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_layers_of_unequal_widths_are_adapted_in_place() -> None:
    base = make_uneven_base("tiny")
    factors = random_factors(base, ALL, rank=2, slots=2, seed=1)
    ids = token_ids(2)

    injected = injected_logits(base, [Segment(2, factors, 1.0)], ids)

    assert len({group.d_out for group in factors if group.module == "gate"}) == 2
    for slot in range(2):
        rows = slice(2 * slot, 2 * slot + 2)
        expected = merged_logits(base, factors, slot, 1.0, ids[rows])
        torch.testing.assert_close(injected[rows], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_base_is_as_before_after_the_block(any_base: Base) -> None:
    ids = token_ids(1)
    weights = copy.deepcopy(any_base.model.state_dict())
    plain = logits_of(any_base, ids)
    factors = random_factors(any_base, ALL, rank=2, slots=1, seed=1)

    assert not torch.equal(injected_logits(any_base, [Segment(1, factors, 1.0)], ids), plain)

    assert torch.equal(logits_of(any_base, ids), plain)
    assert all(torch.equal(weights[name], tensor) for name, tensor in any_base.model.state_dict().items())
    assert not any(module._forward_hooks for module in any_base.model.modules())


@torch.no_grad()
def test_the_base_is_as_before_after_an_error_in_the_block() -> None:
    base = make_base("tiny", "qwen3")
    ids = token_ids(1)
    plain = logits_of(base, ids)
    segment = Segment(1, random_factors(base, ALL, rank=2, slots=1, seed=1), 1.0)

    with pytest.raises(RuntimeError, match="stop"), AdapterHooks(base.model, base.sites).active([segment]):
        raise RuntimeError("stop")

    assert torch.equal(logits_of(base, ids), plain)
    assert not any(module._forward_hooks for module in base.model.modules())


@torch.no_grad()
def test_without_segments_the_base_is_untouched_inside_the_block_too() -> None:
    base = make_base("tiny", "llama")
    ids = token_ids(1)

    assert torch.equal(injected_logits(base, [], ids), logits_of(base, ids))


@torch.no_grad()
def test_zero_b_factors_leave_the_logits_bit_equal(any_base: Base) -> None:
    factors = random_factors(any_base, ALL, rank=2, slots=1, seed=1)
    zeroed = {group: (a, torch.zeros_like(b)) for group, (a, b) in factors.items()}

    assert torch.equal(
        injected_logits(any_base, [Segment(1, zeroed, 1.0)], token_ids(1)), logits_of(any_base, token_ids(1))
    )


@pytest.mark.oracle
@torch.no_grad()
def test_injected_factors_equal_peft_with_the_same_factors(any_base: Base) -> None:
    factors = random_factors(any_base, ALL, rank=4, slots=1, seed=5)
    ids = token_ids(1)
    targets = [path.rsplit(".", 1)[1] for path in MODULE_PATHS.values()]
    peft_model = get_peft_model(
        copy.deepcopy(any_base.model), LoraConfig(r=4, lora_alpha=6, target_modules=targets)
    )
    for path, a, b in sites_of(any_base, factors):
        lora = peft_model.get_submodule(f"base_model.model.{path}")
        lora.lora_A["default"].weight.copy_(a[0])
        lora.lora_B["default"].weight.copy_(b[0])

    injected = injected_logits(any_base, [Segment(1, factors, 6 / 4)], ids)

    torch.testing.assert_close(
        injected, peft_model(input_ids=ids, use_cache=False).logits, atol=1e-4, rtol=1e-4
    )


def test_selected_slots_are_those_asked_for_in_their_order() -> None:
    factors = random_factors(make_base("tiny", "qwen3"), ("q", "v"), rank=2, slots=3, seed=0)

    picked = select_slots(factors, [2, 0])

    for group, (a, b) in factors.items():
        assert torch.equal(picked[group][0], torch.stack([a[2], a[0]]))
        assert torch.equal(picked[group][1], torch.stack([b[2], b[0]]))
    assert select_slots(factors, [0, 1, 2]) is factors
    assert len(select_slots(factors, [0, 1])[group][0]) == 2


def test_concatenated_slots_follow_each_other() -> None:
    base = make_base("tiny", "qwen3")
    parts = [random_factors(base, ("q",), rank=2, slots=slots, seed=slots) for slots in (1, 2)]

    joined = concatenate_slots(parts)

    assert concatenate_slots(parts[:1]) is parts[0]
    for place, part in ((slice(0, 1), parts[0]), (slice(1, 3), parts[1])):
        for group, (a, b) in part.items():
            assert torch.equal(joined[group][0][place], a)
            assert torch.equal(joined[group][1][place], b)


def test_recomputed_layers_give_the_same_loss_and_gradients_and_are_left_as_they_were(any_base: Base) -> None:
    ids = token_ids(2)
    found = []
    for recomputed in ((), any_base.layers):
        factors = random_factors(any_base, ALL, rank=2, slots=2, seed=1)
        leaves = [leaf.requires_grad_() for pair in factors.values() for leaf in pair]
        calls = count_calls(any_base.model.get_submodule(any_base.layers[0]).mlp)
        hooks = AdapterHooks(any_base.model, any_base.sites, recomputed=recomputed)
        with hooks.active([Segment(2, factors, 1.0)]):
            loss = token_log_probs(any_base.model, ids, *reads_of([3, 7], [5, 6])).sum()
            gradients = torch.autograd.grad(loss, leaves)
        found.append((loss, gradients, calls()))

    (loss, gradients, once), (other_loss, other_gradients, twice) = found
    assert (once, twice) == (1, 2)
    assert torch.equal(loss, other_loss)
    for ours, theirs in zip(gradients, other_gradients, strict=True):
        assert torch.equal(ours, theirs)
    assert "forward" not in vars(any_base.model.get_submodule(any_base.layers[0]))


def count_calls(module: nn.Module) -> Callable[[], int]:
    """How often the module runs until the returned function is called."""
    calls: list[int] = []
    handle = module.register_forward_pre_hook(lambda *_: calls.append(1))

    def end() -> int:
        handle.remove()
        return len(calls)

    return end


def launches_of_layer(
    monkeypatch: pytest.MonkeyPatch,
    modules: tuple[str, ...],
    segments: int,
    *,
    family: str = "qwen3",
    fused: bool = False,
) -> int:
    """Operations of a step per layer, in bf16, but for attention and fused norms: what a layer more adds."""
    bases = [in_bf16(make_base("base", family, layers=layers)) for layers in (1, 2)]
    bases = [with_fused_operations(base) for base in bases] if fused else bases
    monkeypatch.setattr(attention, "attend", sdpa_attention_forward)  # on a GPU it is transformers' own
    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", no_attention)
    monkeypatch.setattr(nn.functional, "rms_norm", no_norm)
    counts = []
    for base in bases:
        own = [random_factors(base, modules, rank=2, slots=1, seed=seed) for seed in range(segments)]
        parts = [Segment(1, factors, 2.0, 1 + place) for place, factors in enumerate(own)]
        leaves = [leaf.requires_grad_() for factors in own for pair in factors.values() for leaf in pair]
        ids = torch.ones(sum(range(segments + 1)), 8, dtype=torch.long)

        def step() -> None:
            logits = injected_logits(base, parts, ids)  # noqa: B023
            torch.autograd.grad(logits.sum(), leaves)  # noqa: B023

        counts.append(count_launches(step).total())
    return counts[1] - counts[0]


def test_a_layer_takes_the_launches_that_planning_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    two, all_seven = (launches_of_layer(monkeypatch, modules, 1) for modules in (("q", "v"), ALL))
    more = launches_of_layer(monkeypatch, ("q", "v"), 3)
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
    fused, plain = (
        2 + launches_of_layer(monkeypatch, ("q", "v"), 1, family=family, fused=fused)
        for fused in (True, False)
    )

    fused += 2 * norms
    assert (fused, plain) == expected
    if family == "qwen3":
        assert fused == LAYER_LAUNCHES["fused"] + 2 * MODULE_LAUNCHES


def test_rows_of_several_segments_take_no_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_base("base", "llama")
    factors = [random_factors(base, ("q", "v"), rank=2, slots=1, seed=seed) for seed in (0, 1)]
    parts = [Segment(1, factors[0], 1.0, 1), Segment(1, factors[1], 1.0, 2)]
    leaves = [leaf.requires_grad_() for own in factors for pair in own.values() for leaf in pair]

    counts = count_launches(
        lambda: torch.autograd.grad(injected_logits(base, parts, token_ids(2)[:3]).sum(), leaves)
    )

    assert counts["zeros"] == counts["new_zeros"] == 0


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


@settings(max_examples=40)
@given(slots=st.lists(st.sampled_from([None, *range(SLOTS)]), min_size=1, max_size=9))
def test_every_row_has_the_adapter_of_its_slot(base: Base, slots: list[int | None]) -> None:
    torch.testing.assert_close(by_rows(base, slots, 0.5), by_segments(base, slots, 0.5), rtol=0, atol=1e-4)


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


@pytest.mark.parametrize("slots", [(0, 0, 1, 1, 2, 2), (1, 1), (2,), (1, 2), (0, 1, 0, None, 2)])
def test_the_adapter_matters_and_is_gone_after_the_block(base: Base, slots: Slots) -> None:
    bare = logits(base, len(slots))
    adapted = by_rows(base, slots, 0.5)

    changed = (adapted - bare).abs().amax((1, 2)) > 1e-3
    assert changed.tolist() == [slot is not None for slot in slots]
    assert torch.equal(logits(base, len(slots)), bare)


def test_rows_without_an_adapter_are_left_alone(base: Base) -> None:
    bare = logits(base, 2)
    with RowAdapters(base, {}, 1.0).active([None, None]):
        assert torch.equal(logits(base, 2), bare)


@needs_bf16
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
