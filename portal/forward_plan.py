"""Which rows of a step share a forward: least padding plus launches, within a limit of tokens."""

from collections.abc import Sequence
from itertools import groupby

from portal.bases import Base
from portal.forward import SlotRows, bucket_length

MAX_FORWARD_TOKENS = 16384
"""Padded tokens of one training forward where memory allows them: more do not make it any faster."""
CPU_LAUNCH_TOKENS = 64
"""Tokens whose arithmetic takes as long as one more forward: 40 to 170 on bases of 0.4 to 106 M."""
_GPU_LAYER_LAUNCH_S = 1e-3  # both ways, eager: 127 operations of 8 us
_GPU_FLOPS = 5e14  # half of an H100's peak
_EXTRA_SEGMENT = 0.15  # of a forward's launches: slots with another number of rows have products of their own


def launch_tokens(base: Base) -> int:
    """Tokens whose arithmetic takes as long as one more forward on `base`, both ways."""
    if base.device.type != "cuda":
        return CPU_LAUNCH_TOKENS
    return round(base.num_layers * _GPU_LAYER_LAUNCH_S * _GPU_FLOPS / (4 * base.num_decoder_params))


def plan_forwards(
    slots: Sequence[SlotRows],
    *,
    max_tokens: int = MAX_FORWARD_TOKENS,
    launch_cost: int = CPU_LAUNCH_TOKENS,
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
        together, apart = (_cut(units, max_tokens, launch_cost) for units in (alike, _single_rows(alike)))
        costs = [plan_cost(plan, max_tokens, launch_cost) for plan in (together, apart)]
        forwards.extend(together if costs[0] <= costs[1] else apart)
    return forwards


def padded_tokens(forward: Sequence[SlotRows]) -> int:
    """Tokens of a forward with its padding."""
    return sum(len(slot.rows) for slot in forward) * bucket_length(max(slot.length for slot in forward))


def plan_cost(plan: Sequence[Sequence[SlotRows]], max_tokens: int, launch_cost: int) -> float:
    """Padded tokens, and launches in tokens; endless where a forward is too large and can be divided."""
    cost = 0.0
    for forward in plan:
        tokens = padded_tokens(forward)
        if tokens > max_tokens and sum(len(slot.rows) for slot in forward) > 1:
            return float("inf")
        segments = len({len(slot.rows) for slot in forward})
        cost += tokens + launch_cost * (1 + _EXTRA_SEGMENT * (segments - 1))
    return cost


def _single_rows(slots: Sequence[SlotRows]) -> list[SlotRows]:
    return [slot.part([row]) for slot in slots for row in slot.rows]


def _cut(units: Sequence[SlotRows], max_tokens: int, launch_cost: int) -> list[list[SlotRows]]:
    """Units of like padded length in the same forwards: the cheapest cut of the sorted lengths."""
    if not units:
        return []
    by_length = {
        length: list(group)
        for length, group in groupby(
            sorted(units, key=lambda unit: bucket_length(unit.length)),
            key=lambda unit: bucket_length(unit.length),
        )
    }
    lengths = list(by_length)
    rows = [sum(len(unit.rows) for unit in by_length[length]) for length in lengths]
    best, cuts = [0.0], [0]
    for end in range(1, len(lengths) + 1):
        costs = []
        count = 0
        for start in range(end - 1, -1, -1):
            count += rows[start]
            tokens = count * lengths[end - 1]
            costs.append((best[start] + tokens + launch_cost * max(1.0, tokens / max_tokens), start))
        cost, start = min(costs)
        best.append(cost)
        cuts.append(start)
    forwards: list[list[SlotRows]] = []
    end = len(lengths)
    while end > 0:
        together = [unit for length in lengths[cuts[end] : end] for unit in by_length[length]]
        forwards.extend(_chunks(together, lengths[end - 1], max_tokens)[::-1])
        end = cuts[end]
    return forwards[::-1]


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
