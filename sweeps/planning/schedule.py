"""How long lanes take for a plan's packs: the workers' own rule, played through on predicted times."""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ScheduledPack:
    """A pack: its seconds, its bases, the packs that it waits for, and seconds to load the bases."""

    key: str
    seconds: float
    bases: tuple[str, ...]
    needs: tuple[str, ...]
    load_s: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """Seconds from start to end, the least that any order could take, and seconds of work by lane."""

    makespan: float
    lower_bound: float
    busy: tuple[float, ...]


def play(lanes: Sequence[Sequence[ScheduledPack]], *, start_s: float = 0.0) -> Schedule:
    """Play the lanes through: each takes the first pack of its list that is free and has what it needs.

    Lanes begin after `start_s` seconds. Switching to a pack on other bases costs their load time. A waiting
    lane preloads the bases of the first pack it waits for, unless the bases it holds are needed by another
    waiting pack. All lanes list the same packs, in orders of their own, as workers do (`run_lane`).
    ValueError when a pack waits for one that is in no list.
    """
    tasks = {task.key: task for task in lanes[0]}
    for task in tasks.values():
        if unknown := [need for need in task.needs if need not in tasks]:
            raise ValueError(f"pack {task.key} waits for {unknown[0]}, which is not planned")
    after = _followers(tasks.values())
    left = {task.key for task in tasks.values()}  # not taken by any lane
    ended: set[str] = set()
    ready = {task.key for task in tasks.values() if not task.needs}
    awaited = Counter(task.bases for task in tasks.values() if task.needs)  # by packs that are not ready
    start = [0] * len(lanes)  # everything before is taken
    held: list[tuple[str, ...]] = [()] * len(lanes)
    busy = [0.0] * len(lanes)
    running: list[tuple[float, int, str | None]] = []  # None: only loading
    idle = list(range(len(lanes)))
    now = makespan = start_s
    while len(ended) < len(tasks):
        waiting = []
        for lane in idle:
            found = _next(lanes[lane], start, lane, left, ready)
            if found is not None and found.key in ready:
                left.discard(found.key)
                ready.discard(found.key)
                seconds = found.seconds + (found.load_s if found.bases != held[lane] else 0.0)
                held[lane] = found.bases
                busy[lane] += seconds
                heapq.heappush(running, (now + seconds, lane, found.key))
            elif found is not None and not awaited[held[lane]]:
                held[lane] = found.bases
                busy[lane] += found.load_s
                heapq.heappush(running, (now + found.load_s, lane, None))
            else:
                waiting.append(lane)
        now, lane, key = heapq.heappop(running)
        if key is not None:
            ended.add(key)
            makespan = now
            freed = [task for task in after.get(key, ()) if ended.issuperset(task.needs)]
            ready.update(task.key for task in freed)
            awaited.subtract(task.bases for task in freed)
        idle = [*waiting, lane]
    least = start_s + lower_bound(list(tasks.values()), len(lanes))
    return Schedule(makespan, least, tuple(busy))


def earliest_finish(tasks: Sequence[ScheduledPack], count: int) -> list[list[ScheduledPack]]:
    """An order for each of `count` lanes: first what it is to do, then the rest, the longest chain first.

    Tasks go, in the order of the chain that hangs on each, to the lane that would end them first (the HEFT
    rule of Topcuoglu et al. 2002, with the loading of bases as the cost of a move).
    """
    chains = _chains(tasks)
    order = sorted(tasks, key=lambda task: (-chains[task.key], task.key))
    lanes: dict[tuple[str, ...], list[tuple[float, int]]] = {(): [(0.0, lane) for lane in range(count)]}
    own: list[dict[str, ScheduledPack]] = [{} for _ in range(count)]
    ended: dict[str, float] = {}
    for task in order:
        ready = max((ended[need] for need in task.needs), default=0.0)
        offers = []
        for held, free in lanes.items():  # of lanes that hold the same, the first to be free ends first
            if free:
                moved = held != task.bases
                finish = max(free[0][0] + moved * task.load_s, ready) + task.seconds
                offers.append((finish, moved, free[0][1], held))
        finish, _, lane, held = min(offers)
        heapq.heappop(lanes[held])
        heapq.heappush(lanes.setdefault(task.bases, []), (finish, lane))
        ended[task.key] = finish
        own[lane][task.key] = task
    return [[*mine.values(), *(task for task in order if task.key not in mine)] for mine in own]


def lower_bound(tasks: Sequence[ScheduledPack], lanes: int) -> float:
    """No schedule on so many lanes is shorter than its share of the work, or than its longest chain of needs.

    Each set of bases is loaded once at least, and so is one in every lane that does anything.
    """
    if not tasks:
        return 0.0
    loads = {task.bases: task.load_s for task in tasks}
    load_s = max(sum(loads.values()) / lanes, min(loads.values()))
    chains = _chains(tasks)
    chain_s = max(task.load_s + chains[task.key] for task in tasks)
    return max(sum(task.seconds for task in tasks) / lanes + load_s, chain_s)


def _chains(tasks: Sequence[ScheduledPack]) -> dict[str, float]:
    """Seconds of every task with the longest chain of tasks that wait for it."""
    after = _followers(tasks)
    chains: dict[str, float] = {}

    def chain(task: ScheduledPack) -> float:
        if task.key not in chains:
            chains[task.key] = task.seconds + max(map(chain, after.get(task.key, ())), default=0.0)
        return chains[task.key]

    for task in tasks:
        chain(task)
    return chains


def _followers(tasks: Iterable[ScheduledPack]) -> dict[str, list[ScheduledPack]]:
    """By key, the tasks that wait for it."""
    after: dict[str, list[ScheduledPack]] = {}
    for task in tasks:
        for need in task.needs:
            after.setdefault(need, []).append(task)
    return after


def _next(
    tasks: Sequence[ScheduledPack], start: list[int], lane: int, left: set[str], ready: set[str]
) -> ScheduledPack | None:
    """The lane's first task that is ready; where none is, the first that is left."""
    while start[lane] < len(tasks) and tasks[start[lane]].key not in left:
        start[lane] += 1
    if ready:
        for index in range(start[lane], len(tasks)):
            if tasks[index].key in ready:
                return tasks[index]
    return tasks[start[lane]] if start[lane] < len(tasks) else None
