"""Which rows of a step share a forward: least padding plus launches, within a limit of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from portal.bases import Base
from portal.forward import SlotRows
from portal.length_groups import bucket_length, group_by_length

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
    cost: LaunchCost,
    max_tokens: int = MAX_FORWARD_TOKENS,
) -> list[list[SlotRows]]:
    """All rows in few forwards of near-equal length, of at most `max_tokens` or of a single row each.

    A slot's rows stay together or part by length, whichever is cheaper on the whole. Rows with all their
    choices and rows with the gold one alone do not share a forward.
    """
    forwards = []
    for kind in (False, True):
        alike = sorted(
            (slot for slot in slots if (slot.choice_weight > 0) is kind),
            key=lambda slot: (slot.owner, slot.slot),
        )
        together, apart = (_cut(units, max_tokens, cost.forward) for units in (alike, _single_rows(alike)))
        costs = [plan_cost(plan, cost, max_tokens) for plan in (together, apart)]
        forwards.extend(together if costs[0] <= costs[1] else apart)
    return forwards


def padded_tokens(forward: Sequence[SlotRows]) -> int:
    """Tokens of a forward with its padding."""
    return sum(len(slot.rows) for slot in forward) * bucket_length(max(slot.length for slot in forward))


def plan_cost(plan: Sequence[Sequence[SlotRows]], cost: LaunchCost, max_tokens: int) -> float:
    """Padded tokens, and launches in tokens; endless where a forward is too large and can be divided."""
    total = 0.0
    for forward in plan:
        tokens = padded_tokens(forward)
        if tokens > max_tokens and sum(len(slot.rows) for slot in forward) > 1:
            return float("inf")
        segments = len({len(slot.rows) for slot in forward})
        total += tokens + cost.forward + cost.segment * (segments - 1)
    return total


def _single_rows(slots: Sequence[SlotRows]) -> list[SlotRows]:
    return [slot.part([row]) for slot in slots for row in slot.rows]


def _cut(units: Sequence[SlotRows], max_tokens: int, forward_cost: float) -> list[list[SlotRows]]:
    """Units of like length in the same forwards."""
    sized = [(unit, unit.length, len(unit.rows)) for unit in units]
    return [
        chunk
        for length, group in group_by_length(sized, forward_cost=forward_cost, max_tokens=max_tokens)
        for chunk in _chunks(group, length, max_tokens)
    ]


def _chunks(units: Sequence[SlotRows], length: int, max_tokens: int) -> list[list[SlotRows]]:
    """The units in order, in groups of at most `max_tokens` padded tokens; parts of a slot are joined."""
    groups: list[list[SlotRows]] = [[]]
    count = 0
    for unit in sorted(units, key=lambda unit: (unit.owner, unit.slot)):
        if groups[-1] and (count + len(unit.rows)) * length > max_tokens:
            groups.append([])
            count = 0
        groups[-1].append(unit)
        count += len(unit.rows)
    return [_joined(group) for group in groups]


def _joined(units: Sequence[SlotRows]) -> list[SlotRows]:
    joined = []
    for _, group in groupby(units, key=lambda unit: (unit.owner, unit.slot)):
        parts = list(group)
        joined.append(parts[0].part([row for part in parts for row in part.rows]))
    return joined
