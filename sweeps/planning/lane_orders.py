"""In which order each lane prefers a plan's packs: the better of two plans, played through."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sweeps.planning.planned_pack import PlannedPack
from sweeps.planning.schedule import ScheduledPack, earliest_finish, play


@dataclass(frozen=True)
class LaneOrders:
    """Each lane's order of all packs, and when the last pack is predicted to end, in their unit of time."""

    makespan: float
    lanes: Sequence[Sequence[ScheduledPack]]


def order_lanes(
    packs: Sequence[PlannedPack], scheduled: Mapping[str, ScheduledPack], count: int
) -> LaneOrders:
    """Orders for `count` lanes: of two plans, the one that is predicted to end first.

    Packs go where they end first, or lanes keep to their own bases and help with the rest.
    """
    own_bases = [[scheduled[key] for key in lane] for lane in _by_bases(packs, count)]
    plans = [own_bases, earliest_finish(list(scheduled.values()), count)]
    return min((LaneOrders(play(lanes).makespan, lanes) for lanes in plans), key=lambda plan: plan.makespan)


def _by_bases(packs: Sequence[PlannedPack], count: int) -> list[list[str]]:
    """Every lane prefers the packs of its own bases, then helps with the rest.

    Bases go by their cost to the lane that has the least so far.
    """
    by_bases: dict[tuple[str, ...], list[PlannedPack]] = {}
    for pack in packs:
        by_bases.setdefault(pack.bases, []).append(pack)
    groups = sorted(by_bases.values(), key=lambda group: (group[0].stage, -sum(pack.cost for pack in group)))
    own: list[set[tuple[str, ...]]] = [set() for _ in range(count)]
    load = [0.0] * count
    for group in groups:
        least = min(range(count), key=lambda lane: load[lane])
        own[least].add(group[0].bases)
        load[least] += sum(pack.cost for pack in group)
    orders = {bases: _own_first(packs, bases) for bases in set(map(frozenset, own))}
    return [orders[frozenset(bases)] for bases in own]


def _own_first(packs: Sequence[PlannedPack], own: Collection[tuple[str, ...]]) -> list[str]:
    """Keys of the packs in the order of a lane whose own bases these are; many lanes have none."""
    return [pack.key for pack in sorted(packs, key=lambda pack: (pack.urgency, pack.bases not in own))]
