"""How many lanes a launch has, of how many workers each, for the packs that are left of a study. No Ray."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from portal.storage.paths import Folder
from sweeps.planning.devices import Device
from sweeps.planning.plan import Plan, Planner, check_startable, open_planner
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study
from sweeps.study.study_file import WorkersPerPack
from sweeps.worker.job import Start

WORKER_CPUS = 0.9
"""CPUs that Ray reserves per worker: below 1, so that as many workers as CPUs fit beside their trials."""


@dataclass(frozen=True)
class LaneLayout:
    """How many lanes there are: those with a team of `team_size` workers come first, then single workers.

    Beside the teams there is room for `beside` single workers; the others start when all teams have ended.
    """

    teams: int
    team_size: int
    singles: int
    beside: int

    @property
    def count(self) -> int:
        return self.teams + self.singles

    @property
    def num_workers(self) -> int:
        """The most workers that run at a time."""
        return max(self.teams * self.team_size + min(self.beside, self.singles), self.singles)

    def workers(self, lane: int) -> int:
        return self.team_size if lane < self.teams else 1

    def takes(self, lane: int, num_bases: int) -> bool:
        """Whether the lane takes packs of so many bases."""
        return self.singles == 0 or self.teams == 0 or (lane < self.teams) == (num_bases > 1)

    def start(self, lane: int) -> Start:
        """What the lane waits for: a team's workers must find room on one node, so teams go first."""
        if self.teams == 0 or lane < self.teams:
            return "now"
        return "teams placed" if lane - self.teams < self.beside else "teams ended"


def lay_out(bases: Sequence[int], nodes: Sequence[int], workers_per_pack: WorkersPerPack) -> LaneLayout:
    """Lay out lanes for packs of so many `bases` each, on nodes with room for so many workers.

    ValueError when a team does not fit a node.
    """
    slots = sum(nodes)
    joint = [count for count in bases if count > 1]
    size = max(joint, default=1) if workers_per_pack == "bases" else workers_per_pack
    fitting = sum(node // size for node in nodes)
    if fitting == 0:
        raise ValueError(
            f"workers_per_pack: {workers_per_pack} takes {size} workers on one node, the largest has room "
            f"for {max(nodes, default=0)}"
        )
    if size == 1:
        return LaneLayout(0, 1, max(1, min(slots, len(bases))), 0)
    if workers_per_pack != "bases":
        return LaneLayout(max(1, min(fitting, len(bases))), size, 0, 0)
    teams = min(len(joint), fitting)
    return LaneLayout(teams, size, min(slots, len(bases) - len(joint)), slots - teams * size)


class LanePlan(NamedTuple):
    """A plan, whose device is what one worker has, and the layout of its lanes."""

    plan: Plan
    layout: LaneLayout


def read_lane_plan(study: Study, out: Folder, device: Device, nodes: Sequence[int]) -> LanePlan:
    """What a launch would do now for what is missing of the study in `out`, with such devices.

    `nodes` are the workers that there is room for on each. ValueError for what would make a run fail later.
    """
    planner, status = open_planner(study, out)
    planned = plan_lanes(planner, status, device, nodes)
    check_startable(planned.plan)
    return planned


def plan_lanes(
    planner: Planner, status: StudyStatus, device: Device | None, nodes: Sequence[int]
) -> LanePlan:
    """What is left by this status, on nodes with room for so many workers, each with such a GPU.

    Where the device is a CPU, each node has one: a worker takes its own share of the rates, and there are as
    many workers as the memory has room for, a team at least. None is a device that is not known.
    """
    plan = planner.plan(status, device, lanes=sum(nodes))
    layout = _lay_out(plan, nodes)
    if device is None or device.is_gpu:
        return LanePlan(plan, layout)
    most = max(nodes)
    fitting = min(most, layout.num_workers)
    while fitting > layout.team_size and plan.largest_run_bytes > device.shared_by(fitting).budget_bytes:
        fitting -= 1
    shared = planner.plan(status, device.shared_by(fitting, slots=most), lanes=sum(nodes))
    return LanePlan(shared, _lay_out(shared, [min(fitting, room) for room in nodes]))


def _lay_out(plan: Plan, nodes: Sequence[int]) -> LaneLayout:
    if not plan.packs:
        return LaneLayout(teams=0, team_size=1, singles=1, beside=0)
    return lay_out([len(pack.bases) for pack in plan.packs], nodes, plan.checked.how.workers_per_pack)
