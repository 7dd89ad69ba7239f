"""Which slots of a step share a forward: least padding plus launches, within a limit of tokens."""

from collections.abc import Sequence

from portal.forward import SlotRows

FORWARD_COST_TOKENS = 256
"""Padded tokens whose arithmetic costs about as much as the launch of one more forward."""
MAX_FORWARD_TOKENS = 16384
"""Padded tokens of one training forward where memory allows them: more do not make it any faster."""


def plan_forwards(slots: Sequence[SlotRows], max_tokens: int = MAX_FORWARD_TOKENS) -> list[list[SlotRows]]:
    """The slots in few forwards of near-equal length, of at most `max_tokens` or of a single slot each.

    Rows with all their choices and rows with the gold one alone do not share a forward.
    """
    forwards = []
    for kind in (False, True):
        alike = [slot for slot in slots if (slot.choice_weight > 0) is kind]
        forwards.extend(_cut(alike, max_tokens))
    return forwards


def padded_tokens(forward: Sequence[SlotRows]) -> int:
    """Tokens of a forward with its padding: every slot as full and as long as the largest."""
    most_rows = max(len(slot.rows) for slot in forward)
    return len(forward) * most_rows * max(slot.length for slot in forward)


def _cut(slots: Sequence[SlotRows], max_tokens: int) -> list[list[SlotRows]]:
    if not slots:
        return []
    by_length = sorted(slots, key=lambda slot: (slot.length, slot.owner, slot.slot))
    most_rows = max(len(slot.rows) for slot in slots)
    sizes = [most_rows * slot.length for slot in by_length]
    best = [0.0]
    cuts = [0]
    for end in range(1, len(by_length) + 1):
        costs = []
        for start in range(end):
            padded = (end - start) * sizes[end - 1]
            if padded <= max_tokens or end - start == 1:
                costs.append((best[start] + FORWARD_COST_TOKENS + padded, start))
        cost, start = min(costs)
        best.append(cost)
        cuts.append(start)
    forwards = []
    end = len(by_length)
    while end > 0:
        forwards.append(by_length[cuts[end] : end])
        end = cuts[end]
    return forwards[::-1]
