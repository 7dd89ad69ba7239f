"""A lane that dies frees what it held; workers on a CPU share it, those on GPUs do not; teams have room."""

from dataclasses import replace
from pathlib import Path

import pytest

from portal.storage.atomic import write_json_atomic
from portal.storage.checkpoint import save_checkpoint
from sweeps.launch.lane_layout import LanePlan, read_lane_plan
from sweeps.launch.ray_lanes import _lane_process, release_lane
from sweeps.planning.cost_model import START_S
from sweeps.planning.devices import GPUS, Device, find_device
from sweeps.store.run_store import PackStore, RunStore, pack_key
from sweeps.study.expand import Study
from sweeps.worker.job import LaneJob, PackJob, log_path
from tests.support.studies import TINY, load_text

TOKEN = "0" * 16


@pytest.fixture(autouse=True)
def _lease(tmp_path: Path) -> None:
    """The driver that the lanes are of still holds the folder."""
    write_json_atomic(tmp_path / "driver.json", {"token": TOKEN})


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


@pytest.fixture
def run(tiny_study: Study) -> str:
    return tiny_study.runs[0].key


@pytest.fixture
def job(run: str, tmp_path: Path) -> LaneJob:
    """The job of a lane with one pack, of that run."""
    pack = PackJob(pack_key([run]), 1, (run,), (), ())
    return LaneJob(out=str(tmp_path), token=TOKEN, lane=0, packs=(pack,), rows={})


def claim(job: LaneJob, attempt: str) -> None:
    assert job.session.claim(job.packs[0].key, job.lane, attempt) is not None


def test_a_dead_lane_frees_its_pack_once_and_then_its_runs_are_lost(
    tiny_study: Study, store: RunStore, run: str, job: LaneJob
) -> None:
    finished = tiny_study.runs[1].key  # in an earlier round
    assert job.session.claim(pack_key([finished]), 0, "a") is not None
    claim(job, "a")

    release_lane(job)
    first = store.failure(run)
    claim(replace(job, lane=1), "b")
    release_lane(replace(job, lane=1))

    assert first is None
    failure = store.failure(run)
    assert failure is not None
    assert (failure.cause, failure.lost) == ("its worker died twice", True)
    assert store.failure(finished) is None


def test_a_pack_that_saves_something_between_two_deaths_goes_on(
    store: RunStore, run: str, job: LaneJob
) -> None:
    packs, key = PackStore(store.out), job.packs[0].key
    packs.record_pack(key, [run])
    for sequence in range(3):
        claim(job, f"attempt {sequence}")
        save_checkpoint(packs.pack_folder(key) / "state", sequence + 1, {}, {})
        release_lane(job)
        assert store.failure(run) is None
    claim(replace(job, lane=1), "the last one")

    release_lane(replace(job, lane=1))

    failure = store.failure(run)
    assert failure is not None
    assert failure.cause == "its worker died twice"


def test_what_ended_a_lane_is_the_cause_of_its_runs(
    store: RunStore, run: str, job: LaneJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.out)
    told = "no space for the temporary file"
    for attempt in ("a", "b"):
        claim(job, attempt)
        with pytest.raises(RuntimeError), _lane_process(job):
            raise RuntimeError(told)
        release_lane(job)

    failure = store.failure(run)
    assert failure is not None
    assert failure.cause == f"its worker died twice, the last time of RuntimeError: {told}"
    assert told in log_path(store.out, 0).read_text()


def test_a_driver_that_has_lost_the_folder_frees_nothing(store: RunStore, run: str, job: LaneJob) -> None:
    claim(job, "a")
    write_json_atomic(store.out / "driver.json", {"token": "1" * 16})

    for _ in range(2):
        release_lane(job)

    assert job.session.claimed_by(0) == [job.packs[0].key]
    assert store.failure(run) is None


CPU, GPU = find_device("cpu"), GPUS["b200"]


def team_plan(folder: Path, device: Device, nodes: list[int]) -> LanePlan:
    """Of one pack that two workers step together."""
    return read_lane_plan(load_text(folder, f"{TINY}workers_per_pack: 2\n"), folder, device, nodes)


def scarce_cpu(study: Study, folder: Path, *, runs: float) -> Device:
    """With memory for so many of the study's largest run."""
    largest = read_lane_plan(study, folder, CPU, [4]).plan.largest_run_bytes
    return replace(CPU, memory_bytes=runs * largest * CPU.memory_bytes / CPU.budget_bytes)


def test_workers_on_a_cpu_are_planned_with_their_share_of_it_and_together_do_the_same_those_on_gpus_have_one(
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
    plan, layout = read_lane_plan(tiny_study, tmp_path, GPU, [2, 2])
    assert (plan.device, layout.num_workers) == (GPU, 4)


def test_memory_and_packs_limit_the_workers_who_compute_no_faster_for_the_cores_that_are_left(
    tiny_study: Study, tmp_path: Path
) -> None:
    for runs, workers in ((2.5, 2), (0.1, 1)):
        scarce = scarce_cpu(tiny_study, tmp_path, runs=runs)
        plan, layout = read_lane_plan(tiny_study, tmp_path, scarce, [4])
        assert layout.num_workers == workers
        assert plan.device.memory_bytes == scarce.memory_bytes / workers
        assert plan.device.flops == CPU.flops / 4

    plan, layout = read_lane_plan(tiny_study, tmp_path, CPU, [64])
    assert layout.num_workers == len(plan.packs) < 64
    assert plan.device.memory_bytes == CPU.memory_bytes / len(plan.packs)
    assert plan.device.flops == CPU.flops / 64


def test_a_team_on_cpus_has_room_on_one_of_them_and_stays_whole_where_memory_is_short_as_the_plan_says(
    tiny_study: Study, tmp_path: Path
) -> None:
    for nodes in ([2], [2, 2], [3, 1]):
        plan, layout = team_plan(tmp_path, CPU, nodes)
        assert layout.team_size == 2
        assert 1 <= layout.teams <= sum(room // 2 for room in nodes)
        assert plan.device.flops == CPU.flops / max(nodes)

    plan, layout = team_plan(tmp_path, scarce_cpu(tiny_study, tmp_path, runs=0.1), [4])
    assert (layout.teams, layout.team_size) == (1, 2)
    assert any(each.memory_bytes > plan.device.budget_bytes for each in plan.forecasts)


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
