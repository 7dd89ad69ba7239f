"""How long lanes take for a plan's packs: the workers' own rule, played through on predicted times."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A pack as the schedule sees it: seconds, the bases it needs loaded, and the packs it waits for."""

    key: str
    seconds: float
    bases: tuple[str, ...]
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Schedule:
    """Seconds from start to end, the least that any order could take, and seconds of work by lane."""

    makespan: float
    lower_bound: float
    busy: tuple[float, ...]


def play(lanes: Sequence[Sequence[Task]], *, load_s: float = 0.0) -> Schedule:
    """Every lane takes the first pack of its list that is free and has what it needs, as run_lane does.

    A lane that has to load other bases than it holds needs `load_s` seconds for that. All lanes list the same
    packs, in orders of their own. ValueError when a pack waits for one that is in no list.
    """
    tasks = {task.key: task for task in lanes[0]}
    for task in tasks.values():
        if unknown := [need for need in task.needs if need not in tasks]:
            raise ValueError(f"pack {task.key} waits for {unknown[0]}, which is not planned")
    ended: dict[str, float] = {}
    taken: set[str] = set()
    start = [0] * len(lanes)  # everything before is taken
    held: list[tuple[str, ...]] = [()] * len(lanes)
    busy = [0.0] * len(lanes)
    running: list[tuple[float, int, str]] = []
    idle = list(range(len(lanes)))
    now = 0.0
    while len(ended) < len(tasks):
        waiting = []
        for lane in idle:
            found = _next(lanes[lane], start, lane, taken, ended)
            if found is None:
                waiting.append(lane)
                continue
            taken.add(found.key)
            seconds = found.seconds + (load_s if found.bases != held[lane] else 0.0)
            held[lane] = found.bases
            busy[lane] += seconds
            heapq.heappush(running, (now + seconds, lane, found.key))
        now, lane, key = heapq.heappop(running)
        ended[key] = now
        idle = [*waiting, lane]
    return Schedule(now, lower_bound(list(tasks.values()), len(lanes), load_s=load_s), tuple(busy))


def lower_bound(tasks: Sequence[Task], lanes: int, *, load_s: float = 0.0) -> float:
    """No schedule on so many lanes is shorter than its share of the work, or than its longest chain of needs.

    Each set of bases is loaded once at least.
    """
    by_key = {task.key: task for task in tasks}
    chains: dict[str, float] = {}

    def chain(key: str) -> float:
        if key not in chains:
            task = by_key[key]
            chains[key] = task.seconds + max((chain(need) for need in task.needs), default=0.0)
        return chains[key]

    work = sum(task.seconds for task in tasks) + load_s * len({task.bases for task in tasks})
    return max(work / lanes, load_s + max(chain(task.key) for task in tasks))


def _next(
    tasks: Sequence[Task], start: list[int], lane: int, taken: set[str], ended: dict[str, float]
) -> Task | None:
    while start[lane] < len(tasks) and tasks[start[lane]].key in taken:
        start[lane] += 1
    for index in range(start[lane], len(tasks)):
        task = tasks[index]
        if task.key not in taken and all(need in ended for need in task.needs):
            return task
    return None
