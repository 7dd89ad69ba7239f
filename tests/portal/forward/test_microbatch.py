"""A plan of micro-batches covers every row once, within its limit, at no more cost than plain plans."""

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from portal.data.token_rows import TokenRow
from portal.forward.microbatch import (
    MAX_FORWARD_TOKENS,
    LaunchCost,
    MicroBatch,
    SlotRows,
    bucket_length,
    divide,
    launch_cost,
    plan_learner,
    plan_microbatches,
    plan_overlapped,
    smaller_limit,
    tokens_and_launches,
)
from tests.support.bases import make_base, make_row


def row_of(length: int, number: int) -> TokenRow:
    return make_row((5,) * (length - 1), ((6,), (7,)), name=f"{length} {number}")


def rows_of_length(length: int, count: int) -> tuple[TokenRow, ...]:
    return tuple(row_of(length, number) for number in range(count))


SHAPES = st.tuples(
    st.integers(0, 3),
    st.lists(st.sampled_from([2, 15, 40, 90, 200, 700, 3000, 17000]), min_size=1, max_size=4),
    st.sampled_from([0.0, 1.0]),
)


def slots_of(shapes: list[tuple[int, list[int], float]]) -> list[SlotRows]:
    """One for each owner, lengths of rows and weight of choices."""
    return [
        SlotRows(owner, index, tuple(row_of(length, n) for n, length in enumerate(lengths)), weight)
        for index, (owner, lengths, weight) in enumerate(shapes)
    ]


SLOTS = st.lists(SHAPES, max_size=20).map(slots_of)
OWN_SLOTS = SLOTS.filter(bool).map(
    lambda slots: [replace(slot, owner=0, choice_weight=0.0) for slot in slots]
)
COST = LaunchCost(100, 20)
COSTS = [COST, LaunchCost(300, 10), LaunchCost(20, 20), LaunchCost(1000, 200)]
LIMITS = st.sampled_from([1, 500, 4096, MAX_FORWARD_TOKENS])


@given(slots=SLOTS, limit=LIMITS, together=st.booleans())
def test_a_plan_covers_every_row_once_within_the_token_limit(
    slots: list[SlotRows], limit: int, together: bool
) -> None:
    forwards = plan_microbatches(slots, costs=COSTS, max_tokens=limit, together=together)

    def rows_of(parts: Iterable[SlotRows]) -> list[tuple[int, str]]:
        return sorted((part.slot, row.id) for part in parts for row in part.rows)

    assert rows_of(part for forward in forwards for part in forward.slots) == rows_of(slots)
    for forward in forwards:
        assert len({(part.owner, part.slot) for part in forward.slots}) == len(forward.slots)
        assert len({part.choice_weight > 0 for part in forward.slots}) == 1
        assert forward.padded_tokens <= limit or forward.num_present == 1
        assert all(part.length <= forward.length for part in forward.slots)
        for part in forward.slots:
            (slot,) = [slot for slot in slots if slot.slot == part.slot]
            assert (part.whole or part.rows) == slot.rows


@given(slots=SLOTS, limit=LIMITS)
def test_a_learners_rows_are_padded_and_summed_as_when_it_is_alone(slots: list[SlotRows], limit: int) -> None:
    together = plan_microbatches(slots, costs=COSTS, max_tokens=limit)

    for owner in range(len(COSTS)):
        own = [slot for slot in slots if slot.owner == owner]
        limited = plan_microbatches(own, costs=COSTS, max_tokens=limit)
        assert all(part in parts_of(together, owner) for part in parts_of(limited, owner))
        alone = parts_of(plan_microbatches(own, costs=COSTS), owner)
        if all(len(slot.rows) * length <= limit for length, slot in alone):
            assert parts_of(together, owner) == alone  # a limit that every slot fits changes nothing


def test_on_a_gpu_rows_of_all_learners_are_planned_as_one() -> None:
    slots = [SlotRows(owner, owner, rows_of_length(20 + 4 * owner, 4)) for owner in range(4)]

    costs = [LaunchCost(400, 20)] * 4

    assert len(plan_microbatches(slots, costs=costs)) == 4
    (forward,) = plan_microbatches(slots, costs=costs, together=True)
    assert (forward.length, forward.num_present) == (32, 16)


def test_after_a_forward_that_did_not_fit_no_slot_is_divided_that_may_fit_whole() -> None:
    three, one = (SlotRows(0, index, rows_of_length(20, count)) for index, count in enumerate((3, 1)))

    limit = smaller_limit(MicroBatch(20, (three, one)))

    assert [part.slots for part in divide(MicroBatch(20, (three, one)), limit)] == [(three,), (one,)]
    assert smaller_limit(MicroBatch(20, (three,))) == 30
    assert smaller_limit(MicroBatch(20, (one,) * 8)) == 80


def parts_of(plan: list[MicroBatch], owner: int) -> list[tuple[int, SlotRows]]:
    """A learner's parts by slot, in the order in which they run, with their padded lengths."""
    parts = [(each.length, slot) for each in plan for slot in each.slots if slot.owner == owner]
    return sorted(parts, key=lambda part: part[1].slot)


@given(slots=OWN_SLOTS)
def test_a_plan_costs_no_more_than_the_plain_ones(slots: list[SlotRows]) -> None:
    each_slot = [forward_of([slot]) for slot in slots]
    each_row = [forward_of([slot.part([row])]) for slot in slots for row in slot.rows]

    plan = plan_learner(slots, COST)

    segments = 3 * COST.segment * len(plan)  # the cut does not see the products of unequal slots
    for plain in ([forward_of(slots)], each_slot, each_row):
        assert sum(tokens_and_launches(plan, COST)) <= sum(tokens_and_launches(plain, COST)) + segments


def best_of_halvings(slots: list[SlotRows], cost: LaunchCost) -> float:
    """The least time of plans in which launches count whole, then half as much, until they take longer."""
    found = list[float]()
    for halvings in range(8):
        tokens, launches = tokens_and_launches(plan_learner(slots, cost.scaled(0.5**halvings)), cost)
        found.append(max(tokens, launches))
        if launches >= tokens:
            break
    return min(found)


@given(slots=OWN_SLOTS, forward=st.sampled_from([1.0, 30.0, 300.0, 3000.0, 30_000.0]))
def test_a_gpus_plan_takes_no_longer_than_those_in_which_launches_count_whole_or_half_as_much(
    slots: list[SlotRows], forward: float
) -> None:
    cost = LaunchCost(forward, forward / 5)

    assert max(tokens_and_launches(plan_overlapped(slots, cost), cost)) <= best_of_halvings(slots, cost)


def test_a_gpus_plan_is_looked_for_between_two_halvings() -> None:
    lengths = (24, 32, 40, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    slots = [SlotRows(0, place, rows_of_length(length, 4)) for place, length in enumerate(lengths)]
    costs = [LaunchCost(forward, forward / 5) for forward in (400.0, 700.0, 1100.0, 1600.0, 2300.0)]

    gains = [
        best_of_halvings(slots, cost) / max(tokens_and_launches(plan_overlapped(slots, cost), cost))
        for cost in costs
    ]

    assert min(gains) >= 1.0
    assert max(gains) > 1.03


def test_a_gpu_that_waits_for_arithmetic_gets_more_forwards_and_less_padding() -> None:
    lengths = (20, 60, 120, 250, 500)
    slots = [SlotRows(0, place, rows_of_length(length, 8)) for place, length in enumerate(lengths)]
    cost = LaunchCost(900.0, 0.0)

    added, overlapped = plan_learner(slots, cost), plan_overlapped(slots, cost)

    assert len(added) < len(overlapped) == len(lengths)
    assert sum(each.padded_tokens for each in overlapped) < sum(each.padded_tokens for each in added)
    assert len(plan_overlapped(slots, LaunchCost(100_000.0, 0.0))) == 1


def forward_of(slots: list[SlotRows]) -> MicroBatch:
    return MicroBatch(bucket_length(max(slot.length for slot in slots)), tuple(slots))


def test_rows_of_like_length_share_a_forward_whatever_their_slot() -> None:
    short, long = rows_of_length(30, 3), rows_of_length(200, 3)
    slots = [SlotRows(0, 0, (*short, long[0])), SlotRows(0, 1, short), SlotRows(1, 0, long[1:])]

    first, second = plan_microbatches(slots, costs=COSTS)

    assert [(part.owner, part.slot, part.rows) for part in first.slots] == [(0, 0, short), (0, 1, short)]
    found = [(part.owner, part.slot, part.rows) for part in second.slots]
    assert found == [(0, 0, long[:1]), (1, 0, long[1:])]
    assert (first.length, second.length) == (32, 208)


def test_where_launches_or_segments_cost_more_than_padding_slots_stay_whole() -> None:
    def slots_of_rows(*counts: tuple[int, int]) -> list[SlotRows]:
        rows = [(*rows_of_length(20, short), *rows_of_length(60, long)) for short, long in counts]
        return [SlotRows(0, index, own) for index, own in enumerate(rows)]

    alike, unequal = slots_of_rows(*[(2, 2)] * 3), slots_of_rows((3, 1), (2, 2), (1, 3))
    for slots, dear in ((alike, LaunchCost(10_000, 0)), (unequal, LaunchCost(1, 1000))):
        assert plan_learner(slots, dear) == [MicroBatch(60, tuple(slots))]
    for slots, cheap in ((alike, LaunchCost(1, 0)), (unequal, LaunchCost(1, 1))):
        assert len(plan_learner(slots, cheap)) == 2


def test_a_forward_is_divided_between_slots_and_within_one_only_where_it_has_to() -> None:
    slots = tuple(SlotRows(0, index, rows_of_length(20, count)) for index, count in enumerate((2, 2, 5)))

    parts = divide(MicroBatch(20, slots), 4 * 20)

    assert [[len(slot.rows) for slot in part.slots] for part in parts] == [[2, 2], [4], [1]]
    assert parts[0].slots == slots[:2]
    assert {part.length for part in parts} == {20}
    assert divide(MicroBatch(20, slots), 1)[0].num_present == 1


def test_more_adapted_modules_make_a_forward_dearer() -> None:
    base = make_base("tiny", "qwen3")

    costs = [launch_cost(base, modules) for modules in (0, 2, 7)]

    assert costs[0].forward < costs[1].forward < costs[2].forward
    assert costs[0].segment == 0 < costs[1].segment < costs[2].segment < costs[2].forward


def test_a_plan_does_not_depend_on_the_order_of_the_slots() -> None:
    slots = [SlotRows(index % 3, index, rows_of_length(10 + 37 * index % 300, 2)) for index in range(12)]

    assert plan_microbatches(slots[::-1], costs=COSTS) == plan_microbatches(slots, costs=COSTS)
    assert plan_microbatches([], costs=[]) == []


@given(length=st.integers(1, 5000))
def test_a_bucket_is_the_smallest_of_few_lengths_that_holds_the_row(length: int) -> None:
    bucket = bucket_length(length)

    assert bucket >= length
    assert bucket_length(bucket) == bucket
    limits = {64: 4, 128: 8, 256: 16, 512: 32}
    assert bucket - length < next((grain for limit, grain in limits.items() if length <= limit), 64)
    assert bucket % next((grain for limit, grain in limits.items() if length <= limit), 64) == 0
