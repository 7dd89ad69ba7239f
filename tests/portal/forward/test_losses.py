"""A packed training forward gives every slot the loss transformers itself gives its batch."""

import pytest
import torch

from portal.bases.base import Base
from portal.data.token_rows import TokenRow
from portal.forward.adapter_hooks import AdapterHooks, Segment, select_slots
from portal.forward.losses import slot_losses
from portal.forward.microbatch import SlotRows
from tests.support.bases import make_base, make_row, make_rows, random_factors


@torch.no_grad()
def transformers_loss(base: Base, rows: tuple[TokenRow, ...]) -> float:
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
def test_every_slots_loss_is_the_one_transformers_computes_whatever_is_beside_it(any_base: Base) -> None:
    slots = slots_of(any_base)

    losses = slot_losses(any_base, slots)

    assert losses.dtype == torch.float32
    expected = [transformers_loss(any_base, slot.rows) for slot in slots]
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)
    assert len({round(loss, 2) for loss in expected}) == len(slots)
    alone = torch.cat([slot_losses(any_base, [slot]) for slot in slots])
    torch.testing.assert_close(losses, alone, rtol=2e-6, atol=1e-6)
    backwards = slot_losses(any_base, slots[::-1])
    torch.testing.assert_close(backwards.flip(0), alone, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("choice_weight", [0.0, 1.0])
@torch.no_grad()
def test_at_one_padded_length_others_change_no_bit_of_a_loss(any_base: Base, choice_weight: float) -> None:
    few = make_row((5, 6, 7), ((9,), (10,)))
    many = make_row((8, 5), tuple((11 + index,) for index in range(11)))
    slot = SlotRows(0, 0, (few,), choice_weight)
    others = [
        SlotRows(1, 0, (few, few, few, many), choice_weight),
        SlotRows(1, 1, make_rows(any_base).rows("colours", "train")[:4], choice_weight),
    ]

    alone = slot_losses(any_base, [slot], length=128)

    for slots in ([slot, others[0]], [slot, *others], [*others, slot]):
        assert torch.equal(slot_losses(any_base, slots, length=128)[slots.index(slot)], alone[0])


def test_slots_with_unequal_rows_get_the_gradients_they_get_alone() -> None:
    base = make_base("tiny", "gemma3")
    slots = slots_of(base)

    def gradients(chosen: list[int]) -> list[torch.Tensor]:
        factors = random_factors(base, ("q", "v"), rank=2, slots=3, seed=0)
        leaves = [leaf.requires_grad_() for pair in factors.values() for leaf in pair]
        segments = [
            Segment(1, select_slots(factors, [index]), 1.0, len(slots[index].rows)) for index in chosen
        ]
        with AdapterHooks(base.model, base.sites).active(segments):
            loss = slot_losses(base, [slots[index] for index in chosen]).sum()
        return list(torch.autograd.grad(loss, leaves))

    together = gradients([0, 1, 2])
    apart = [sum(parts) for parts in zip(*(gradients([index]) for index in range(3)), strict=True)]

    for ours, theirs in zip(together, apart, strict=True):
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()


@torch.no_grad()
def test_the_parts_of_a_slot_add_up_to_its_loss(any_base: Base) -> None:
    rows = make_rows(any_base).rows("names", "train")[:4]
    for choice_weight in (0.0, 2.0):
        slot = SlotRows(0, 0, rows, choice_weight)
        parts = [slot.part(rows[:1]), slot.part([rows[3], rows[1]]), slot.part([rows[2]])]

        shares = slot_losses(any_base, parts)
        assert shares.sum().item() == pytest.approx(slot_losses(any_base, [slot]).item(), rel=1e-5)
        assert parts[0].part(rows) == slot
