"""Which rows of a step share a forward: least padding plus launches, within a limit of tokens.

A learner's rows part by length as they would without company, and parts of one padded length share forwards:
who else is there changes neither a row's padding nor the order in which a learner's gradients are summed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from portal.bases import Base
from portal.forward import Forward, SlotRows
from portal.length_groups import group_by_length

MAX_FORWARD_TOKENS = 16384
"""Padded tokens of one training forward where memory allows them: more do not make it any faster."""
LAYER_LAUNCHES, MODULE_LAUNCHES = 127, 15
"""Operations a layer, both ways, without adapters and for each adapted module (counted on eager torch)."""
_CPU_FORWARD_TOKENS = 96.0  # 40 to 170 were measured on bases of 0.4 to 106 M parameters
_GPU_LAUNCH_S = 8e-6
_GPU_FLOPS = 5e14  # half of an H100's peak


@dataclass(frozen=True)
class LaunchCost:
    """In tokens whose arithmetic takes as long: of a forward both ways, and of another segment in it.

    Slots with unequally many rows are in segments of their own, with their own products at adapted linears.
    """

    forward: float
    segment: float


def launch_cost(base: Base, num_modules: int) -> LaunchCost:
    """Of a forward of `base` with so many adapted modules a layer."""
    if base.device.type == "cuda":
        token_s = 4 * base.num_decoder_params / _GPU_FLOPS
        plain = base.num_layers * LAYER_LAUNCHES * _GPU_LAUNCH_S / token_s
    else:
        plain = _CPU_FORWARD_TOKENS
    segment = plain * num_modules * MODULE_LAUNCHES / LAYER_LAUNCHES
    return LaunchCost(plain + segment, segment)


def plan_forwards(
    slots: Sequence[SlotRows],
    *,
    costs: Sequence[LaunchCost],
    max_tokens: int = MAX_FORWARD_TOKENS,
) -> list[Forward]:
    """All rows in few forwards of near-equal length, of at most `max_tokens` or of a single row each.

    `costs` are those of each owner's own forwards. A slot's rows stay together or part by length, whichever
    is cheaper for its owner's slots. Rows with all their choices do not share a forward with rows that have
    the gold one alone.
    """
    shared: dict[tuple[bool, int], list[SlotRows]] = defaultdict(list)
    in_order = sorted(slots, key=lambda slot: (slot.owner, slot.choice_weight > 0, slot.slot))
    for (owner, kind), own in groupby(in_order, key=lambda slot: (slot.owner, slot.choice_weight > 0)):
        for forward in plan_alone(list(own), costs[owner]):
            shared[kind, forward.length].extend(forward.slots)
    return [
        part
        for (_, length), parts in sorted(shared.items(), key=lambda item: item[0])
        for part in divide(Forward(length, tuple(parts)), max_tokens)
    ]


def plan_alone(slots: Sequence[SlotRows], cost: LaunchCost) -> list[Forward]:
    """The forwards of one learner's slots, lengths rising; in company they are parts of larger ones.

    A forward's launches count half, because company shares them.
    """
    half = LaunchCost(cost.forward / 2, cost.segment)
    together, apart = (_cut(units, half.forward) for units in (slots, _single_rows(slots)))
    return together if plan_cost(together, half) <= plan_cost(apart, half) else apart


def divide(forward: Forward, max_tokens: int) -> list[Forward]:
    """The forward as it is, or in parts of at most `max_tokens`, as far as rows allow.

    Only a slot that is too large by itself is divided between parts.
    """
    most_rows = max(1, max_tokens // forward.length)
    parts: list[list[SlotRows]] = [[]]
    for slot in forward.slots:
        for start in range(0, len(slot.rows), most_rows):
            piece = slot if len(slot.rows) <= most_rows else slot.part(slot.rows[start : start + most_rows])
            if sum(len(other.rows) for other in parts[-1]) + len(piece.rows) > most_rows:
                parts.append([])
            parts[-1].append(piece)
    return [Forward(forward.length, tuple(part)) for part in parts if part]


def plan_cost(plan: Sequence[Forward], cost: LaunchCost) -> float:
    """Padded tokens, and launches in tokens."""
    total = 0.0
    for forward in plan:
        segments = len({len(slot.rows) for slot in forward.slots})
        total += forward.padded_tokens + cost.forward + cost.segment * (segments - 1)
    return total


def _single_rows(slots: Sequence[SlotRows]) -> list[SlotRows]:
    return [slot.part([row]) for slot in slots for row in slot.rows]


def _cut(units: Sequence[SlotRows], forward_cost: float) -> list[Forward]:
    """Units of like length in the same forwards; parts of a slot are joined."""
    sized = [(unit, unit.length, len(unit.rows)) for unit in units]
    groups = group_by_length(sized, forward_cost=forward_cost, max_tokens=MAX_FORWARD_TOKENS)
    return [Forward(length, tuple(_joined(group))) for length, group in groups]


def _joined(units: Sequence[SlotRows]) -> list[SlotRows]:
    joined = []
    for _, group in groupby(sorted(units, key=lambda unit: unit.slot), key=lambda unit: unit.slot):
        parts = list(group)
        joined.append(parts[0].part([row for part in parts for row in part.rows]))
    return joined
