"""A packed training forward gives every slot the loss transformers itself gives its batch."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from portal.adapt import AdapterHooks, Segment, select_slots
from portal.bases import Base
from portal.forward import SlotRows, bucket_length, slot_losses
from portal.forward_plan import FORWARD_COST_TOKENS, MAX_FORWARD_TOKENS, plan_forwards
from portal.rows import Row
from portal.sites import MODULE_PATHS
from tests.portal.tiny import make_base, make_row, make_rows, random_factors


@torch.no_grad()
def transformers_loss(base: Base, rows: tuple[Row, ...]) -> float:
    """The model's own loss on a right-padded batch whose prompt and padding labels are masked."""
    length = max(len(row.gold_ids) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for index, row in enumerate(rows):
        end = len(row.gold_ids)
        ids[index, :end] = torch.tensor(row.gold_ids)
        mask[index, :end] = 1
        labels[index, len(row.prompt) : end] = ids[index, len(row.prompt) : end]
    return base.model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.item()


def slots_of(base: Base) -> list[SlotRows]:
    """Batches of four, one and three rows, of one to six answer tokens, one much longer than the rest."""
    table = make_rows(base)
    long = make_row(tuple(3 + index % 90 for index in range(100)), ((4, 5, 6, 7), (8,)))
    short = make_row((5,), ((9,), (10, 11)), gold=1)
    return [
        SlotRows(0, 0, table.rows("colours", "train")[:4]),
        SlotRows(0, 1, (short,)),
        SlotRows(0, 2, (long, *table.rows("names", "train")[4:6])),
    ]


@torch.no_grad()
def test_every_slots_loss_is_the_one_transformers_computes(any_base: Base) -> None:
    slots = slots_of(any_base)

    losses = slot_losses(any_base, slots)

    assert losses.dtype == torch.float32
    expected = [transformers_loss(any_base, slot.rows) for slot in slots]
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)
    assert len({round(loss, 2) for loss in expected}) == len(slots)


@torch.no_grad()
def test_padding_and_filler_rows_change_no_loss(any_base: Base) -> None:
    slots = slots_of(any_base)

    together = slot_losses(any_base, slots)

    alone = torch.cat([slot_losses(any_base, [slot]) for slot in slots])
    torch.testing.assert_close(together, alone, rtol=2e-6, atol=1e-6)
    backwards = slot_losses(any_base, slots[::-1])
    torch.testing.assert_close(backwards.flip(0), alone, rtol=2e-6, atol=1e-6)


@torch.no_grad()
def test_a_batchs_loss_weighs_tokens_and_not_rows() -> None:
    base = make_base("tiny", "qwen3")
    one = make_row((5, 6), ((9,), (3,)))
    three = make_row((7, 8), ((9, 10, 11), (3,)))

    first, second, both = (
        slot_losses(base, [SlotRows(0, 0, rows)]).item() for rows in ((one,), (three,), (one, three))
    )

    assert both == pytest.approx((first + 3 * second) / 4, rel=1e-5)


@torch.no_grad()
def test_adapted_slots_lose_what_a_merged_base_loses(any_base: Base) -> None:
    slots = slots_of(any_base)
    factors = random_factors(any_base, tuple(MODULE_PATHS), rank=4, slots=3, seed=0)

    with AdapterHooks(any_base.model, any_base.sites).active([Segment(3, factors, 0.5)]):
        losses = slot_losses(any_base, slots)

    for index, slot in enumerate(slots):
        merged = copy.deepcopy(any_base)
        for group, (a, b) in select_slots(factors, [index]).items():
            for place, layer in enumerate(group.layers):
                path = f"model.layers.{layer}.{MODULE_PATHS[group.module]}"
                merged.model.get_submodule(path).weight += 0.5 * b[0, place] @ a[0, place]
        assert losses[index].item() == pytest.approx(transformers_loss(merged, slot.rows), rel=1e-4)


def test_filler_rows_carry_no_gradient() -> None:
    base = make_base("tiny", "gemma3")
    slots = slots_of(base)[:2]  # four rows and one row: three fillers

    def gradients(chosen: list[SlotRows], places: list[int]) -> list[torch.Tensor]:
        factors = random_factors(base, ("q", "v"), rank=2, slots=2, seed=0)
        leaves = [leaf.requires_grad_() for pair in factors.values() for leaf in pair]
        segment = Segment(len(places), select_slots(factors, places), 1.0)
        with AdapterHooks(base.model, base.sites).active([segment]):
            loss = slot_losses(base, chosen).sum()
        return list(torch.autograd.grad(loss, leaves))

    together = gradients(slots, [0, 1])
    apart = [a + b for a, b in zip(gradients(slots[:1], [0]), gradients(slots[1:], [1]), strict=True)]

    for ours, theirs in zip(together, apart, strict=True):
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()


@given(length=st.integers(1, 5000))
def test_a_bucket_is_the_smallest_known_length_that_holds_the_row(length: int) -> None:
    bucket = bucket_length(length)

    assert bucket >= length
    assert bucket_length(bucket) == bucket
    assert bucket - length < (8 if length <= 8 else 4 if length <= 64 else 64 if length <= 256 else 128)


def test_few_bucket_lengths_serve_every_short_row() -> None:
    short = list(range(8, 65, 4))
    assert sorted({bucket_length(length) for length in range(1, 385)}) == [*short, 80, 96, 128, 192, 256, 384]


def rows_of_length(length: int, count: int) -> tuple[Row, ...]:
    return (make_row((5,) * (length - 1), ((6,), (7,))),) * count


def padded(forward: list[SlotRows]) -> int:
    return len(forward) * max(len(slot.rows) for slot in forward) * max(slot.length for slot in forward)


SLOTS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([2, 15, 40, 90, 200, 700, 3000, 17000]), st.integers(1, 4)),
    max_size=25,
).map(
    lambda shapes: [
        SlotRows(owner, index, rows_of_length(length, count))
        for index, (owner, length, count) in enumerate(shapes)
    ]
)


@given(slots=SLOTS)
def test_a_plan_covers_every_slot_once_within_the_token_limit(slots: list[SlotRows]) -> None:
    forwards = plan_forwards(slots)

    covered = [(slot.owner, slot.slot) for forward in forwards for slot in forward]
    assert sorted(covered) == sorted((slot.owner, slot.slot) for slot in slots)
    assert all(forwards)
    for forward in forwards:
        assert len(forward) == 1 or padded(forward) <= MAX_FORWARD_TOKENS


@given(slots=SLOTS.filter(bool))
def test_a_plan_costs_no_more_than_one_forward_a_slot_or_one_for_all(slots: list[SlotRows]) -> None:
    rows = max(len(slot.rows) for slot in slots)

    def cost(forwards: list[list[SlotRows]]) -> int:
        tokens = sum(len(forward) * rows * max(slot.length for slot in forward) for forward in forwards)
        return FORWARD_COST_TOKENS * len(forwards) + tokens

    planned = cost(plan_forwards(slots))

    assert planned <= cost([[slot] for slot in slots])
    if len(slots) * rows * max(slot.length for slot in slots) <= MAX_FORWARD_TOKENS:
        assert planned <= cost([slots])


def test_slots_of_like_length_share_a_forward_and_a_long_one_runs_apart() -> None:
    lengths = [30, 200, 16, 31, 199]
    slots = [SlotRows(0, index, rows_of_length(length, 4)) for index, length in enumerate(lengths)]

    forwards = plan_forwards(slots)

    assert [[slot.slot for slot in forward] for forward in forwards] == [[2, 0, 3], [1, 4]]


def test_a_plan_does_not_depend_on_the_order_of_the_slots() -> None:
    slots = [SlotRows(index % 3, index, rows_of_length(10 + 37 * index % 300, 2)) for index in range(12)]

    assert plan_forwards(slots[::-1]) == plan_forwards(slots)
    assert plan_forwards([]) == []
