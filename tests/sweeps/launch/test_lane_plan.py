"""Workers on a CPU have a share of it each; those on GPUs have one of their own; teams have room."""

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.launch.lane_plan import LanePlan, read_lane_plan
from sweeps.planning.cost_model import START_S
from sweeps.planning.devices import GPUS, Device, find_device
from sweeps.study.expand import Study, load_study
from tests.support.studies import TINY

CPU, GPU = find_device("cpu"), GPUS["b200"]


def team_plan(folder: Path, device: Device, nodes: list[int]) -> LanePlan:
    """Of one pack that two workers step together."""
    path = folder / "team.yaml"
    path.write_text(TINY + "workers_per_pack: 2\n")
    return read_lane_plan(load_study(path), folder, device, nodes)


def scarce_cpu(study: Study, folder: Path, *, runs: float) -> Device:
    """With memory for so many of the study's largest run."""
    largest = read_lane_plan(study, folder, CPU, [4]).plan.largest_run_bytes
    return replace(CPU, memory_bytes=runs * largest * CPU.memory_bytes / CPU.budget_bytes)


def test_workers_on_a_cpu_are_planned_with_their_share_of_it_and_together_do_the_same(
    tiny_study: Study, tmp_path: Path
) -> None:
    one, two = (read_lane_plan(tiny_study, tmp_path, CPU, [slots]) for slots in (1, 2))

    assert (one.plan.device, two.plan.device) == (CPU, CPU.shared_by(2))
    assert (one.layout.count, two.layout.count) == (1, 2)
    assert sorted(run.key for run in one.plan.missing) == sorted(run.key for run in two.plan.missing)
    shared = sum(each.hours for each in two.plan.forecasts)
    alone = sum(each.hours for each in one.plan.forecasts)
    assert 1.9 * alone < shared < 3 * alone  # rates are halved; smaller packs share fewer launches
    assert shared / 2 <= (two.plan.schedule(2).makespan - START_S) / 3600 < shared


def test_workers_that_memory_has_room_for_compute_no_faster_for_the_cores_that_are_left(
    tiny_study: Study, tmp_path: Path
) -> None:
    for runs, workers in ((2.5, 2), (0.1, 1)):
        scarce = scarce_cpu(tiny_study, tmp_path, runs=runs)

        plan, layout = read_lane_plan(tiny_study, tmp_path, scarce, [4])

        assert layout.num_workers == workers
        assert plan.device.memory_bytes == scarce.memory_bytes / workers
        assert plan.device.flops == CPU.flops / 4


def test_no_more_workers_divide_the_memory_than_there_are_packs_for(
    tiny_study: Study, tmp_path: Path
) -> None:
    plan, layout = read_lane_plan(tiny_study, tmp_path, CPU, [64])

    assert layout.num_workers == len(plan.packs) < 64
    assert plan.device.memory_bytes == CPU.memory_bytes / len(plan.packs)
    assert plan.device.flops == CPU.flops / 64


@pytest.mark.parametrize("nodes", [[2], [2, 2], [3, 1]])
def test_a_team_on_cpus_has_room_on_one_of_them(tmp_path: Path, nodes: list[int]) -> None:
    plan, layout = team_plan(tmp_path, CPU, nodes)

    assert layout.team_size == 2
    assert 1 <= layout.teams <= sum(room // 2 for room in nodes)
    assert plan.device.flops == CPU.flops / max(nodes)


def test_a_team_stays_whole_where_memory_is_short_and_the_plan_says_that_it_is(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY)
    scarce = scarce_cpu(load_study(tmp_path / "study.yaml"), tmp_path, runs=0.1)

    plan, layout = team_plan(tmp_path, scarce, [4])

    assert (layout.teams, layout.team_size) == (1, 2)
    assert any(each.memory_bytes > plan.device.budget_bytes for each in plan.forecasts)


def test_each_worker_on_gpus_has_its_own(tiny_study: Study, tmp_path: Path) -> None:
    plan, layout = read_lane_plan(tiny_study, tmp_path, GPU, [2, 2])

    assert plan.device == GPU
    assert layout.num_workers == 4


def test_a_finished_study_has_a_plan_wherever_it_ran(
    unbroken: tuple[Path, object], tiny_study: Study
) -> None:
    teams = replace(tiny_study, settings=tiny_study.settings.model_copy(update={"workers_per_pack": 2}))

    for device in (CPU, GPU):
        plan, layout = read_lane_plan(teams, unbroken[0], device, [1])

        assert plan.packs == ()
        assert layout.num_workers == 1


def test_a_folder_that_a_launch_could_not_write_is_refused(tiny_study: Study, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ValueError, match="cannot be written"):
        read_lane_plan(tiny_study, tmp_path / "file", CPU, [1])
