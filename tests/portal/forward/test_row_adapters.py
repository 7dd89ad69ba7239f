"""Rows in any order get the adapters of their slots, as hooks with a segment a row give them."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from portal.bases.base import Base, load_base
from portal.forward.adapter_hooks import AdapterHooks, Segment, select_slots
from portal.forward.row_adapters import RowAdapters, divide_rows
from portal.modules import ALL_MODULES
from tests.support.bases import random_factors
from tests.support.precision import copy_in_fp32, in_bf16, needs_bf16

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
