"""`LanePlan`: the packs that are left of a study, and the lanes that a launch has for them. No Ray."""

from collections.abc import Sequence
from typing import NamedTuple

from portal.storage.paths import Folder
from sweeps.launch.lane_layout import LaneLayout, lay_out
from sweeps.planning.devices import Device
from sweeps.planning.plan import Plan, Planner, check_startable, open_planner
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study


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
