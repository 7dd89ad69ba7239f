"""Rows that go through a base together, and which do: least padding plus launches, within a limit of tokens.

Pure planning: no tensor is made here. On a CPU each learner's rows are bucketed by length on their own;
buckets of equal padded length are then merged into one micro-batch. So the other learners in the pack affect
neither padding nor summation order, and a packed run equals the same run alone, bit for bit. On a GPU, where
kernels round by the size of a forward anyhow, all rows are planned together, and it computes while the next
launches are queued: a step takes as long as its launches or its tokens, whichever take longer.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import Generic, TypeVar

from portal.bases.base import Base
from portal.bases.operations import Operations
from portal.data.token_rows import TokenRow
from portal.device import ATTAINED, GpuRates, own_gpu_rates
from portal.forward.shared_prefix import packed_length


@dataclass(frozen=True)
class SlotRows:
    """The rows of one adapter slot in one step, or a part of them.

    A slot's loss is a sum over its parts: `whole` holds all its rows where `rows` are not all of them.
    """

    owner: int  # which learner of the pack
    slot: int  # which of its adapters
    rows: tuple[TokenRow, ...]
    choice_weight: float = 0.0  # of the choice loss
    whole: tuple[TokenRow, ...] | None = None

    def part(self, rows: Sequence[TokenRow]) -> "SlotRows":
        """Some of the rows, as a part of the slot."""
        whole = self.whole or self.rows
        if len(rows) == len(whole):
            return replace(self, rows=whole, whole=None)
        return replace(self, rows=tuple(rows), whole=whole)

    @property
    def length(self) -> int:
        return max(self.row_length(row) for row in self.rows)

    @property
    def num_tokens(self) -> int:
        return sum(self.row_length(row) for row in self.rows)

    @property
    def num_gold_tokens(self) -> int:
        """Tokens of the gold answers of the whole slot."""
        return sum(len(row.choices[row.gold]) - row.unscored[row.gold] for row in self.whole or self.rows)

    @property
    def num_rows(self) -> int:
        """Rows of the whole slot."""
        return len(self.whole or self.rows)

    def row_length(self, row: TokenRow) -> int:
        """Tokens of `row` in a forward."""
        return packed_length(row) if self.choice_weight else len(row.prompt) + len(row.choices[row.gold])


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through a base together, every one padded to `length` tokens."""

    length: int
    slots: tuple[SlotRows, ...]

    @property
    def num_present(self) -> int:
        """Rows of all slots that are here."""
        return sum(len(slot.rows) for slot in self.slots)

    @property
    def padded_tokens(self) -> int:
        return self.num_present * self.length


MAX_FORWARD_TOKENS = 16384
"""Padded tokens of one training forward where memory allows them: more do not make it any faster."""
LAYER_LAUNCHES: dict[Operations, int] = {"plain": 142, "fused": 44}
MODULE_LAUNCHES = 7
"""Operations per layer, forward and backward, in eager torch: those of a Qwen3 layer without adapters, and
for each adapted module and segment of rows."""
_CPU_FORWARD_TOKENS = 96.0  # 40 to 170 were measured on bases of 0.4 to 106 M parameters
FLOPS_PER_PARAM_TOKEN = 4
"""Forward (2) and the activations' gradient (2); frozen weights take no gradient of their own."""
_LIGHTEST = 2**-7  # what a launch counts beside tokens in the last of the plans that are tried
_BISECTIONS = 3  # plans between the last two


@dataclass(frozen=True)
class LaunchCost:
    """Launch overhead, in tokens of equal run time: of one forward and backward, and of each further segment.

    Slots with unequally many rows are in segments of their own, with their own products at adapted linears.
    """

    forward: float
    segment: float

    def scaled(self, share: float) -> "LaunchCost":
        """A share of the overhead, for a plan that minds launches less."""
        return LaunchCost(share * self.forward, share * self.segment)

    def halved(self) -> "LaunchCost":
        """Half the overhead: where learners are bucketed separately, others share the same forward."""
        return LaunchCost(self.forward / 2, self.segment)


def launch_cost(base: Base, num_modules: int) -> LaunchCost:
    """The launch overhead of a forward of `base` with so many adapted modules per layer, on its device."""
    if base.device.type != "cuda":
        return cpu_launch_cost(num_modules)
    rates = own_gpu_rates(base.device)
    return gpu_launch_cost(rates, base.num_layers, base.num_active_params, num_modules, base.operations)


def cpu_launch_cost(num_modules: int) -> LaunchCost:
    """The same on a CPU, whatever the base: a larger one has more work per token and per launch."""
    return _cost_in_launches(_CPU_FORWARD_TOKENS / LAYER_LAUNCHES["plain"], num_modules, "plain")


def gpu_launch_cost(
    rates: GpuRates, num_layers: int, num_params: int, num_modules: int, operations: Operations
) -> LaunchCost:
    """The same on a GPU of these rates, of a base with so many layers and parameters in them."""
    token_s = FLOPS_PER_PARAM_TOKEN * num_params / (ATTAINED * rates.flops)
    return _cost_in_launches(num_layers * rates.launch_s / token_s, num_modules, operations)


def _cost_in_launches(tokens: float, num_modules: int, operations: Operations) -> LaunchCost:
    """`tokens` stand for one launch in every layer."""
    segment = tokens * MODULE_LAUNCHES * num_modules
    return LaunchCost(tokens * LAYER_LAUNCHES[operations] + segment, segment)


def plan_microbatches(
    slots: Sequence[SlotRows],
    *,
    costs: Sequence[LaunchCost],
    max_tokens: int = MAX_FORWARD_TOKENS,
    together: bool = False,
) -> list[MicroBatch]:
    """All rows in few micro-batches of near-equal length, of at most `max_tokens` or of a single row each.

    `costs` are the launch costs of each owner's forwards. A slot's rows stay together or are bucketed by
    length, whichever is cheaper for its owner's slots, or, when planned `together`, for all. Rows that carry
    all their choices do not share a micro-batch with rows that carry the gold one alone.
    """
    shared: dict[tuple[bool, int], list[SlotRows]] = defaultdict(list)
    in_order = sorted(slots, key=lambda slot: (slot.choice_weight > 0, slot.owner, slot.slot))

    def learner_of(slot: SlotRows) -> tuple[bool, int | None]:
        return slot.choice_weight > 0, None if together else slot.owner

    for (kind, owner), own in groupby(in_order, key=learner_of):
        if owner is None:
            plan = plan_overlapped(list(own), max(costs, key=lambda cost: cost.forward))
        else:
            plan = plan_learner(list(own), costs[owner].halved())
        for forward in plan:
            shared[kind, forward.length].extend(forward.slots)
    return [
        part
        for (_, length), parts in sorted(shared.items(), key=lambda item: item[0])
        for part in divide(MicroBatch(length, tuple(parts)), max_tokens)
    ]


def plan_overlapped(slots: Sequence[SlotRows], cost: LaunchCost) -> list[MicroBatch]:
    """The micro-batches of all slots whose launches or tokens, whichever take longer, take least.

    Tried are the plans that cost least in tokens and launches together, as launches count less and less. Once
    launches take longer than tokens, some between the last two plans follow.
    """
    layouts = _layouts(slots)
    least = sum(bucket_length(slot.row_length(row)) for slot in slots for row in slot.rows)
    found: list[tuple[tuple[float, float], _Plan]] = []

    def consider(share: float) -> tuple[float, float]:
        """The tokens and launches of the plan in which launches count so much."""
        plan = _cheaper(layouts, cost.scaled(share))
        tokens, launches = _tokens_and_launches(plan, cost)
        found.append(((max(tokens, launches), tokens + launches), plan))
        return tokens, launches

    share = 1.0
    tokens, launches = consider(share)
    while launches < tokens and tokens > least and share > _LIGHTEST:
        share /= 2
        tokens, launches = consider(share)
    if launches > tokens and share < 1:
        light, heavy = share, 2 * share
        for _ in range(_BISECTIONS):
            share = math.sqrt(light * heavy)
            tokens, launches = consider(share)
            light, heavy = (share, heavy) if launches > tokens else (light, share)
    return _micro_batches(min(found, key=lambda each: each[0])[1])


def plan_learner(slots: Sequence[SlotRows], cost: LaunchCost) -> list[MicroBatch]:
    """The micro-batches of slots that are planned as one, lengths rising, whatever their number of tokens."""
    return _micro_batches(_cheaper(_layouts(slots), cost))


def divide(forward: MicroBatch, max_tokens: int) -> list[MicroBatch]:
    """The micro-batch as it is, or in parts of at most `max_tokens`, as far as rows allow.

    Only a slot that is too large by itself is divided between parts.
    """
    most_rows = max(1, max_tokens // forward.length)
    parts: list[list[SlotRows]] = []
    count = most_rows  # rows of the last part
    for slot in forward.slots:
        for start in range(0, len(slot.rows), most_rows):
            piece = slot if len(slot.rows) <= most_rows else slot.part(slot.rows[start : start + most_rows])
            if count + len(piece.rows) > most_rows:
                parts.append([])
                count = 0
            parts[-1].append(piece)
            count += len(piece.rows)
    return [MicroBatch(forward.length, tuple(part)) for part in parts]


def smaller_limit(forward: MicroBatch) -> int:
    """The limit after this forward did not fit: half its tokens; no slot is divided that may fit whole."""
    largest = max(len(slot.rows) for slot in forward.slots) * forward.length
    return max(forward.padded_tokens // 2, largest) if len(forward.slots) > 1 else forward.padded_tokens // 2


def tokens_and_launches(plan: Sequence[MicroBatch], cost: LaunchCost) -> tuple[float, float]:
    """The padded tokens of a plan, and its launches expressed in tokens."""
    parts = [(forward.length, [(slot, slot.rows) for slot in forward.slots]) for forward in plan]
    return _tokens_and_launches(parts, cost)


_Part = tuple[SlotRows, tuple[TokenRow, ...]]
"""Some rows of a slot; a `SlotRows` of its own is made only of those in the plan that is taken."""
_Plan = Sequence[tuple[int, Sequence[_Part]]]
"""Forwards by their padded length, each with the parts in it."""


def _layouts(slots: Sequence[SlotRows]) -> "tuple[LengthBuckets[_Part], LengthBuckets[_Part]]":
    """Slots that stay whole, and every row alone: the ways in which a plan divides rows."""
    lengths = [(slot, [slot.row_length(row) for row in slot.rows]) for slot in slots]
    whole = [((slot, slot.rows), max(own), len(own)) for slot, own in lengths]
    alone = [
        ((slot, (row,)), length, 1)
        for slot, own in lengths
        for row, length in zip(slot.rows, own, strict=True)
    ]
    return LengthBuckets(whole), LengthBuckets(alone)


def _cheaper(layouts: "Sequence[LengthBuckets[_Part]]", cost: LaunchCost) -> _Plan:
    """The plan of that layout whose tokens and launches cost less."""
    plans = [each.groups(forward_cost=cost.forward, max_tokens=MAX_FORWARD_TOKENS) for each in layouts]
    return min(plans, key=lambda plan: sum(_tokens_and_launches(plan, cost)))


def _micro_batches(plan: _Plan) -> list[MicroBatch]:
    return [MicroBatch(length, tuple(_joined(parts))) for length, parts in plan]


def _tokens_and_launches(plan: _Plan, cost: LaunchCost) -> tuple[float, float]:
    tokens = launches = 0.0
    for length, parts in plan:
        counts: dict[tuple[int, int], int] = {}
        for slot, rows in parts:
            place = slot.owner, slot.slot
            counts[place] = counts.get(place, 0) + len(rows)
        segments = len(set(counts.values()))
        tokens += sum(counts.values()) * length
        launches += cost.forward + cost.segment * (segments - 1)
    return tokens, launches


def _joined(parts: Sequence[_Part]) -> list[SlotRows]:
    """The parts of each slot as one."""
    found: dict[tuple[int, int], tuple[SlotRows, list[TokenRow]]] = {}
    for slot, rows in parts:
        found.setdefault((slot.owner, slot.slot), (slot, []))[1].extend(rows)
    return [slot.part(rows) for _, (slot, rows) in sorted(found.items(), key=lambda item: item[0])]


Item = TypeVar("Item")

_GRAIN = ((64, 4), (128, 8), (256, 16), (512, 32))
"""Up to so many tokens a padded length is a multiple of so many; beyond, of 64. The fewer the lengths, the
more a GPU's allocator finds what it needs."""


@cache
def bucket_length(length: int) -> int:
    """The padded length of a forward whose longest row has `length` tokens."""
    grain = next((grain for limit, grain in _GRAIN if length <= limit), 64)
    return -(-length // grain) * grain


def group_by_length(
    items: Iterable[tuple[Item, int, int]], *, forward_cost: float, max_tokens: int
) -> list[tuple[int, list[Item]]]:
    """(padded length, items) of every group, lengths rising, from (item, its longest row, its rows).

    A group costs its padded tokens and `forward_cost` for each forward of at most `max_tokens` that they
    take. Items of one length keep their order.
    """
    return LengthBuckets(items).groups(forward_cost=forward_cost, max_tokens=max_tokens)


class LengthBuckets(Generic[Item]):
    """(item, its longest row, its rows) by padded length, to be grouped at one cost of a forward or more."""

    def __init__(self, items: Iterable[tuple[Item, int, int]]) -> None:
        buckets: dict[int, list[Item]] = {}
        rows: dict[int, int] = {}
        for item, longest, count in items:
            length = bucket_length(longest)
            buckets.setdefault(length, []).append(item)
            rows[length] = rows.get(length, 0) + count
        self._lengths = sorted(buckets)
        self._items = [buckets[length] for length in self._lengths]
        self._rows = [rows[length] for length in self._lengths]

    def groups(self, *, forward_cost: float, max_tokens: int) -> list[tuple[int, list[Item]]]:
        """Those of `group_by_length`."""
        cuts = _cheapest_cuts(self._lengths, self._rows, forward_cost, max_tokens)
        return [
            (self._lengths[end - 1], [item for items in self._items[start:end] for item in items])
            for start, end in cuts
        ]


def _cheapest_cuts(
    lengths: Sequence[int], rows: Sequence[int], forward_cost: float, max_tokens: int
) -> list[tuple[int, int]]:
    """(start, end) of consecutive groups of the rising lengths, by dynamic programming over their ends."""
    best, starts = [0.0], [0]
    for end in range(1, len(lengths) + 1):
        options = []
        count = 0
        for start in range(end - 1, -1, -1):
            count += rows[start]
            tokens = count * lengths[end - 1]
            options.append((best[start] + tokens + forward_cost * max(1.0, tokens / max_tokens), start))
        cost, start = min(options)
        best.append(cost)
        starts.append(start)
    cuts = []
    end = len(lengths)
    while end > 0:
        cuts.append((starts[end], end))
        end = starts[end]
    return cuts[::-1]
