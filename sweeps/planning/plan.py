"""`Plan`: what a study still has to do, in packs, in the order in which they start. Nothing is written."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from portal.config import RunConfig
from portal.storage.paths import Folder
from sweeps.planning.checks import (
    CheckedStudy,
    check_libraries,
    check_precisions,
    check_study,
    expected_device,
)
from sweeps.planning.cost_model import START_S, Forecast
from sweeps.planning.devices import Device
from sweeps.planning.group_runs import RunGroups, group_runs
from sweeps.planning.lane_orders import LaneOrders, order_lanes
from sweeps.planning.pack_forecaster import PackForecaster
from sweeps.planning.planned_pack import PlannedPack
from sweeps.planning.schedule import Schedule, ScheduledPack, play
from sweeps.store.output_folder import check_usable
from sweeps.store.pack_store import PackStore
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study, stage_of

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

    @cached_property
    def _known_orders(self) -> dict[int, LaneOrders]:
        return {}

    def _scheduled(self) -> dict[str, ScheduledPack]:
        """The packs by key, with their lengths in seconds; without a device in units of their cost."""
        if self.forecaster is None:
            lengths = [pack.cost for pack in self.packs]
            loads = [_LOAD_SHARE * sum(lengths) / max(1, len(lengths))] * len(lengths)
        else:
            lengths = [3600 * each.hours_in_lane for each in self.forecasts]
            loads = [self.forecaster.load_seconds(pack.runs[0]) for pack in self.packs]
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
        groups = group_runs(self.checked.study, self.recorded)
        forecaster = self._forecaster(device)
        plans = [
            Plan(self.checked, status, _packs(self.checked, finished, groups, forecaster, limit), forecaster)
            for limit in limits
        ]
        return min(plans, key=lambda plan: plan.makespan(lanes)) if len(plans) > 1 else plans[0]

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


def _packs(
    checked: CheckedStudy,
    finished: set[str],
    groups: RunGroups,
    forecaster: PackForecaster | None,
    most_cost: float,
) -> tuple[PlannedPack, ...]:
    """The packs that are left, each of at most so much cost and within the device's memory."""
    costs = checked.costs

    def fits(runs: Sequence[RunConfig]) -> bool:
        if sum(costs[run.key] for run in runs if run.key not in finished) > most_cost:
            return False
        return forecaster is None or forecaster.fits(runs)

    packs = []
    for key, members in groups.packs(fits):
        left = tuple(run for run in members if run.key not in finished)
        if left:
            keys, cost = tuple(run.key for run in members), sum(costs[run.key] for run in left)
            packs.append(PlannedPack(key, stage_of(left[0]), keys, left, cost))
    return tuple(sorted(packs, key=lambda pack: (pack.urgency, -pack.cost, pack.key)))
