"""`Plan`: what a study still has to do, in packs, in the order in which lanes start them. Nothing is written.

Runs are grouped into packs, packs are forecast, and lanes' own rule is played through on predicted times.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from portal.config import RunConfig
from portal.storage.paths import Folder
from sweeps.planning.checks import (
    CheckedStudy,
    check_libraries,
    check_precisions,
    check_study,
    expected_device,
)
from sweeps.planning.cost_model import START_S, Forecast, forecast, forward_tokens, load_seconds, peak_memory
from sweeps.planning.devices import Device
from sweeps.store.output_folder import check_usable
from sweeps.store.run_store import PackStore, RunStore, pack_key
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study, stage_of


@dataclass(frozen=True)
class PlannedPack:
    """Runs that share their bases and adapter shape and are stepped together. `cost` is in multiply-adds."""

    key: str
    stage: int
    members: tuple[str, ...]  # keys of all runs, the finished ones too
    runs: tuple[RunConfig, ...]  # those that are left
    cost: float

    @property
    def bases(self) -> tuple[str, ...]:
        return tuple(ref.name for ref in self.runs[0].bases)

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the runs that must be finished first."""
        return tuple(dict.fromkeys(key for run in self.runs for key in run.parent_keys))

    @property
    def urgency(self) -> int:
        """Lower ones start first: joint training, since ports wait for it; ports last."""
        return 0 if self.runs[0].spec.runs_on == "sources" else self.stage

    @property
    def label(self) -> str:
        """What it trains, for people."""
        methods = dict.fromkeys(run.method for run in self.runs)
        return f"{', '.join(methods)} on {'+'.join(self.bases)}"


KeyedRuns = tuple[str, tuple[RunConfig, ...]]
"""The key of a pack, and its runs."""


def group_runs(
    study: Study, recorded: Mapping[str, Sequence[str]]
) -> tuple[list[KeyedRuns], list[list[RunConfig]]]:
    """The study's recorded packs, which stay as they are, and groups of other runs that may share packs.

    Those are of one stage, bases and adapter shape.
    """
    free = dict(study.by_key)
    kept = []
    for key, members in recorded.items():
        runs = tuple(free.pop(member) for member in members if member in free)
        if runs:
            kept.append((key, runs))
    groups: dict[tuple[Any, ...], list[RunConfig]] = {}
    for run in free.values():
        trains = run.train is not None
        groups.setdefault((stage_of(run), trains, run.bases, run.adapter, run.data.tasks), []).append(run)
    for group in groups.values():
        group.sort(key=lambda run: (run.method, -(run.data.size or 0), run.seed or 0, run.key))
    return kept, list(groups.values())


def _split(
    group: Sequence[RunConfig], pack_size: int, fits: Callable[[Sequence[RunConfig]], bool]
) -> list[tuple[RunConfig, ...]]:
    """Split a group into as few packs as are small enough; each gets its share of the long runs."""
    count = -(-len(group) // pack_size)
    while count < len(group) and not all(fits(group[first::count]) for first in range(count)):
        count += 1
    return [tuple(group[first::count]) for first in range(count)]


_Value = TypeVar("_Value")


class PackForecaster:
    """Predictions for packs of runs of a checked study; packs of the same kinds of runs are predicted once.

    A study of fifty thousand runs has a few hundred kinds of packs, and planning looks at each pack many
    times.
    """

    def __init__(self, checked: CheckedStudy, device: Device) -> None:
        self.device = device
        self._checked = checked
        self._known: dict[tuple[Callable[..., Any], tuple[int, ...]], Any] = {}

    def fits(self, runs: Sequence[RunConfig]) -> bool:
        """Whether the runs fit the device's memory together."""
        return self.peak_bytes(runs) <= self.device.budget_bytes

    def peak_bytes(self, runs: Sequence[RunConfig]) -> float:
        """Peak memory in bytes with an ample forward."""
        return self._once(peak_memory, runs)

    def forecast(self, runs: Sequence[RunConfig]) -> Forecast:
        """Memory, operations and hours of a pack of these runs."""
        return self._once(forecast, runs)

    def forward_tokens(self, runs: Sequence[RunConfig]) -> dict[str, int]:
        """The most padded tokens of a training forward, by base."""
        return self._once(forward_tokens, runs)

    def _once(self, predict: Callable[..., _Value], runs: Sequence[RunConfig]) -> _Value:
        key = predict, tuple(self._checked.kinds[run.key] for run in runs)
        if key not in self._known:
            works = [self._checked.works[run.key] for run in runs]
            self._known[key] = predict(runs, works, self.device, self._checked.how)
        found: _Value = self._known[key]
        return found


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
    orders: dict[frozenset[tuple[str, ...]], list[str]] = {}
    for bases in set(map(frozenset, own)):  # many lanes have none of their own
        first = sorted(packs, key=lambda pack: (pack.urgency, pack.bases not in bases))
        orders[bases] = [pack.key for pack in first]
    return [orders[frozenset(bases)] for bases in own]


LANE_PACKS = (3, 4, 6, 8, 12)
"""Packs a lane has at least, as far as there are runs: the last ones to end are not all of a lane's work.

Smaller packs spread more evenly and share fewer launches; the number that is predicted to end first is taken.
"""
_LOAD_SHARE = 0.1  # of a mean pack that loading its base takes, where the device is not known
_STAGE_NAMES = {1: "train", 2: "port"}


@dataclass(frozen=True)
class Plan:
    """The packs that are left of a study, and in which order lanes take them.

    With a `forecaster`, packs are small enough for its device's memory, and what they take is predicted.
    """

    checked: CheckedStudy
    status: StudyStatus
    packs: tuple[PlannedPack, ...]
    forecaster: PackForecaster | None
    _known_orders: dict[int, LaneOrders] = field(default_factory=dict, init=False, compare=False)

    @property
    def study(self) -> Study:
        return self.checked.study

    @property
    def device(self) -> Device:
        """The device that the plan is for; only a plan that predicts has one."""
        return self._predicting.device

    @cached_property
    def missing(self) -> tuple[RunConfig, ...]:
        """The runs that are left."""
        return tuple(run for pack in self.packs for run in pack.runs)

    @property
    def bases(self) -> tuple[str, ...]:
        """Names of the bases of runs that are left, in order of first use."""
        return tuple(dict.fromkeys(name for pack in self.packs for name in pack.bases))

    @cached_property
    def forecasts(self) -> list[Forecast]:
        """The prediction for each pack on the plan's device."""
        return [self._predicting.forecast(pack.runs) for pack in self.packs]

    @property
    def largest_run_bytes(self) -> float:
        """Predicted peak memory of the largest run that is left, alone on the plan's device."""
        return max((self._predicting.peak_bytes([run]) for run in self.missing), default=0.0)

    def forward_tokens(self, pack: PlannedPack) -> dict[str, int]:
        """The most padded tokens of a training forward, by base; nothing without a device."""
        return {} if self.forecaster is None else self.forecaster.forward_tokens(pack.runs)

    def lanes(self, count: int) -> list[list[PlannedPack]]:
        """`count` lanes, each with all packs in the order in which it prefers them."""
        packs = {pack.key: pack for pack in self.packs}
        return [[packs[each.key] for each in lane] for lane in self._orders(count).lanes]

    def makespan(self, count: int) -> float:
        """Predicted seconds of so many lanes that are there at once; units of cost without a device."""
        return self._orders(count).makespan

    def schedule(self, count: int) -> Schedule:
        """The packs that are left, played through on so many lanes from the start of their processes."""
        assert self.forecaster is not None, "a plan without a device predicts nothing"
        return play(self._orders(count).lanes, start_s=START_S)

    def lane_seconds(self, lanes: int) -> float | None:
        """Predicted seconds of a lane when so many share what is left; None without a device."""
        if self.forecaster is None:
            return None
        return 3600 * sum(each.hours for each in self.forecasts) / lanes

    @property
    def _predicting(self) -> PackForecaster:
        assert self.forecaster is not None, "a plan without a device predicts nothing"
        return self.forecaster

    def _orders(self, count: int) -> LaneOrders:
        if count not in self._known_orders:
            self._known_orders[count] = order_lanes(self.packs, self._scheduled(), count)
        return self._known_orders[count]

    def _scheduled(self) -> dict[str, ScheduledPack]:
        """The packs by key, with their lengths in seconds; without a device in units of their cost."""
        if self.forecaster is None:
            lengths = [pack.cost for pack in self.packs]
            loads = [_LOAD_SHARE * sum(lengths) / max(1, len(lengths))] * len(lengths)
        else:
            lengths = [3600 * each.hours_in_lane for each in self.forecasts]
            loads = [load_seconds(pack.runs[0], self.device) for pack in self.packs]
        makers = {run.key: pack.key for pack in self.packs for run in pack.runs}
        return {
            pack.key: ScheduledPack(
                pack.key,
                length,
                pack.bases,
                tuple(dict.fromkeys(makers[need] for need in pack.needs if need in makers)),
                load,
            )
            for pack, length, load in zip(self.packs, lengths, loads, strict=True)
        }


def plan_study(study: Study, out: Folder, *, device: Device | None = None, lanes: int = 1) -> Plan:
    """The plan for what is missing of the study in `out`; ValueError for what would make a run fail later.

    Without a device only the study's `pack_size` limits a pack. For several `lanes`, each on such a device,
    packs are small enough that all of them have work.
    """
    planner, status = open_planner(study, out)
    plan = planner.plan(status, device, lanes=lanes)
    check_startable(plan)
    return plan


def check_startable(plan: Plan) -> None:
    """ValueError for a precision that the device has not, or a library that is not installed, of what is
    left to do.
    """
    is_gpu = plan.forecaster is not None and plan.device.is_gpu
    planned = "cuda" if is_gpu else expected_device(plan.study.settings.device)
    check_precisions((ref for run in plan.missing for ref in run.bases), planned)
    check_libraries(plan.missing)


@dataclass(frozen=True)
class Planner:
    """Plans of a checked study, for several devices and states of it; `recorded` packs, by key, stay as they
    are. What is predicted for a device is kept.
    """

    checked: CheckedStudy
    recorded: Mapping[str, Sequence[str]]
    _forecasters: dict[Device, PackForecaster] = field(default_factory=dict, init=False)

    def plan(self, status: StudyStatus, device: Device | None, *, lanes: int = 1) -> Plan:
        """The plan for what is left by this status, for so many lanes on such a device each."""
        finished = {*status.done, *status.failed_for_good}
        limits = [math.inf]
        if lanes > 1:
            cost = sum(cost for key, cost in self.checked.costs.items() if key not in finished)
            limits = [cost / (parts * lanes) for parts in LANE_PACKS]
        grouped = group_runs(self.checked.study, self.recorded)
        forecaster = self._forecaster(device)
        plans = [
            Plan(self.checked, status, self._packs(finished, grouped, forecaster, limit), forecaster)
            for limit in limits
        ]
        return min(plans, key=lambda plan: plan.makespan(lanes)) if len(plans) > 1 else plans[0]

    def _packs(
        self,
        finished: set[str],
        grouped: tuple[list[KeyedRuns], list[list[RunConfig]]],
        forecaster: PackForecaster | None,
        most_cost: float,
    ) -> tuple[PlannedPack, ...]:
        """The packs that are left; a new one has at most `pack_size` runs, so much cost, and fits."""
        costs, (recorded, groups) = self.checked.costs, grouped

        def fits(runs: Sequence[RunConfig]) -> bool:
            if sum(costs[run.key] for run in runs if run.key not in finished) > most_cost:
                return False
            return forecaster is None or forecaster.fits(runs)

        size = self.checked.study.settings.pack_size
        split = [runs for group in groups for runs in _split(group, size, fits)]
        packs = []
        for key, members in [*recorded, *((pack_key([run.key for run in runs]), runs) for runs in split)]:
            left = tuple(run for run in members if run.key not in finished)
            if left:
                keys, cost = tuple(run.key for run in members), sum(costs[run.key] for run in left)
                packs.append(PlannedPack(key, stage_of(left[0]), keys, left, cost))
        return tuple(sorted(packs, key=lambda pack: (pack.urgency, -pack.cost, pack.key)))

    def _forecaster(self, device: Device | None) -> PackForecaster | None:
        if device is not None and device not in self._forecasters:
            self._forecasters[device] = PackForecaster(self.checked, device)
        return None if device is None else self._forecasters[device]


def open_planner(study: Study, out: Folder) -> tuple[Planner, StudyStatus]:
    """A planner for the study in `out`, and its status there; ValueError for what would make a run fail."""
    check_usable(out)
    planner = Planner(check_study(study), PackStore(out).recorded_packs())
    return planner, StudyStatus.read(RunStore(out), study.runs)


def stage_names(stages: Iterable[int]) -> dict[int, str]:
    """Names for people of the stages that are present, in their order: `train`, `port`, `stage 3`."""
    return {stage: _STAGE_NAMES.get(stage, f"stage {stage}") for stage in sorted(set(stages))}
