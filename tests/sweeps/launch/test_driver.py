"""A launch says what it tried; with Ray Tune and Ray Train, killed processes change nothing in the tables."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

from portal.storage.paths import Folder
from sweeps.launch.driver import LaunchResult, launch_result, run_study
from sweeps.launch.executors import EXECUTORS, ExecutorName, LaneRound, Local, Resources, Wanted
from sweeps.planning import checks
from sweeps.planning.devices import GPUS, Device
from sweeps.planning.plan import plan_study
from sweeps.store.lease import read_holder
from sweeps.store.output_folder import UsedDevice
from sweeps.store.run_store import PackStore, RunStore
from sweeps.store.session import read_progress
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study
from sweeps.worker.job import log_path
from tests.support.command_line import Portal
from tests.support.counts import nightly
from tests.support.studies import COMMAND, TINY, Tables, assert_same, load_text, silent, tables_of, wait_for
from tests.support.trackers import mean_scores, tensorboard_history


def on_cpu(study: Study) -> Study:
    """The study with the device named."""
    return replace(study, settings=study.settings.model_copy(update={"device": "cpu"}))


def test_a_run_that_fails_at_once_was_tried_and_a_second_launch_tries_nothing(
    study_path: Path, portal: Portal
) -> None:
    text = TINY[: TINY.index("methods:")].replace("seeds: [0, 1]", "seeds: [0]")
    study_path.write_text(text + "methods: {lora: {size: 8, train: {epochs: 1, lr: 1e38}}}\n")

    first, second = (portal("sweep run tiny.yaml --out out --executor local", code=3).out for _ in range(2))

    assert first == "study tiny: 0 of 1 runs done, none trained now, 1 failed now\n"
    assert second == "study tiny: 0 of 1 runs done, nothing was left to train\n"


def test_counts_are_those_of_the_runs_that_the_launch_tried_and_a_port_names_its_source_run_if_it_is_there(
    tiny_study: Study, tmp_path: Path
) -> None:
    store, port = RunStore(tmp_path), next(run for run in tiny_study.runs if run.method == "portal")
    done, lost, failed_before = [run.key for run in tiny_study.runs if run.method in ("base", "lora")][:3]
    store.run_folder(done).mkdir(parents=True)
    store.mark_done(done)
    for key in (port.source, failed_before):
        store.mark_failed(key, "diverged", tmp_path / "log")

    def result(study: Study) -> LaunchResult:
        status, tried = StudyStatus.read(store, study.runs), [done, port.source, lost]
        return launch_result(study, status, tried=tried, cause="gone", log=tmp_path / "log", wall_s=1.0)

    found = result(tiny_study)
    causes = {failure.run: failure.cause for failure in found.failures}
    alone = result(replace(tiny_study, runs=(port,)))

    assert (found.total, found.done, found.tried, found.trained, found.failed) == (9, 1, 3, 1, 1)
    assert not found.is_done
    assert found.summary == "1 trained now, 1 failed now"
    assert causes[lost] == "gone"
    assert causes[port.key] == f"its source run {port.source} failed"
    assert [failure.cause for failure in alone.failures] == ["gone"]


def test_a_launch_again_meets_the_packs_of_the_one_before_tries_lost_runs_and_is_silent_without_a_console(
    finished: Path, tiny_study: Study, unbroken: tuple[Path, Tables], capfd: pytest.CaptureFixture[str]
) -> None:
    store, packs = RunStore(finished), PackStore(finished)
    assert plan_study(tiny_study, finished).packs == ()
    gone, lost = (run.key for run in tiny_study.runs if run.method == "lora" and run.data.size == 8)
    recorded = packs.recorded_packs()
    assert sorted(key for members in recorded.values() for key in members) == sorted(tiny_study.by_key)
    for key in (gone, lost):
        shutil.rmtree(store.run_folder(key))
    store.mark_failed(lost, "its worker died twice", log_path(finished, 0), lost=True)

    outcome = run_study(tiny_study, finished, executor="local")

    assert (outcome.is_done, outcome.tried, outcome.trained, outcome.failed) == (True, 2, 2, 0)
    assert packs.recorded_packs() == recorded
    assert tables_of(tiny_study, finished).weights == unbroken[1].weights
    assert capfd.readouterr() == ("", "")


SECRET = "hf_notForAnyFileNorLog0123456789"


def half_trained(out: Path) -> set[Path]:
    """Whole checkpoints of packs that have begun to train and have not ended."""
    found = set()
    for manifest in out.glob("packs/*/state/*/manifest.json"):
        with suppress(FileNotFoundError):  # a newer one has replaced it
            runs = json.loads(manifest.with_name("meta.json").read_bytes())["runs"]
            if any(run["step"] > 0 for run in runs.values()):
                found.add(manifest)
    return found


def worker_in(out: Path, *, but: int = 0) -> int:
    """The process of a lane that is at work, another one than `but`."""
    at_work = wait_for(
        lambda: {lane.get("pid", but) for lane in read_progress(out)} - {but}, "a lane at work"
    )
    return at_work.pop()


LONG = TINY.replace("epochs: 2", "epochs: 24, evaluate: last_epoch")
"""The nine runs, which train long enough to be killed on the way."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """The long study, and its output folder where nothing disturbs it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    study = load_text(folder, LONG)
    assert run_study(study, folder / "out", executor="local").done == 9
    return study, folder / "out"


@pytest.mark.ray
@pytest.mark.parametrize("executor", ["train", "plain"])
def test_where_the_worker_of_a_source_is_killed_it_and_its_port_end_in_the_same_launch_and_tables(
    executor: ExecutorName,
    ray_cluster: str,
    undisturbed: tuple[Study, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, expected = undisturbed
    own = [run for run in whole.runs if run.seed == 0 and run.method in ("source", "portal")]
    study = replace(whole, runs=tuple(own))
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "0.1")
    monkeypatch.chdir(tmp_path.parent)
    out = Path(tmp_path.name)  # relative, as `make demo` gives it
    outcomes: list[LaunchResult] = []
    thread = threading.Thread(
        target=lambda: outcomes.append(run_study(study, out, executor=executor, console=silent()))
    )
    thread.start()
    wait_for(lambda: half_trained(tmp_path), "a checkpoint")
    lost = worker_in(tmp_path)
    os.kill(lost, signal.SIGKILL)
    ended_before = list(tmp_path.glob("runs/*/DONE.json"))
    worker_in(tmp_path, but=lost)
    thread.join()

    (outcome,) = outcomes
    assert ended_before == []
    assert (outcome.is_done, outcome.trained) == (True, 2)
    assert_same(tables_of(study, tmp_path), tables_of(study, expected))
    assert not (tmp_path / "scratch").exists()


def start(study: Path, out: Path, cluster: str | None = None) -> subprocess.Popen[str]:
    """`portal sweep run` as the demo does it, with the executor that is the default; on a Ray of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"PORTAL_CHECKPOINT_S": "0.1", "HF_TOKEN": SECRET, "WANDB_API_KEY": SECRET}
    environment |= {} if cluster is None else {"RAY_ADDRESS": cluster}
    options = ["sweep", "run", str(study), "--out", str(out), "--tracker", "tensorboard"]
    command, pipe = [sys.executable, "-c", COMMAND, *options], subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


@dataclass(frozen=True)
class GivenAgain:
    """What a command that was killed in mid-pack left at the second try, and what that said."""

    out: Path
    told: str
    log: str


@pytest.fixture(scope="module", params=["its own Ray", *nightly("a cluster")])
def given_again(
    request: pytest.FixtureRequest, ray_cluster: str, tmp_path_factory: pytest.TempPathFactory
) -> GivenAgain:
    folder = tmp_path_factory.mktemp("killed")
    study, out = folder / "tiny.yaml", folder / "out"
    cluster = ray_cluster if request.param == "a cluster" else None
    study.write_text(LONG)
    killed = start(study, out, cluster)
    wait_for(lambda: half_trained(out) or killed.poll() is not None, "a checkpoint")
    killed.kill()
    _, log = killed.communicate()
    assert half_trained(out), log

    again = start(study, out, cluster)
    told, log = again.communicate()
    assert again.returncode == 0, log
    return GivenAgain(out, told, log)


@pytest.mark.ray
def test_a_command_that_is_killed_in_mid_pack_and_given_again_ends_in_the_tables_of_an_unbroken_one(
    given_again: GivenAgain, undisturbed: tuple[Study, Path]
) -> None:
    study, out = undisturbed
    assert given_again.told.startswith("study tiny: 9 of 9 runs done, ")
    assert_same(tables_of(study, given_again.out), tables_of(study, out))


@pytest.mark.ray
def test_a_tracker_is_told_every_evaluation_of_runs_that_ray_trains_once_though_the_command_was_killed(
    given_again: GivenAgain, undisturbed: tuple[Study, Path]
) -> None:
    for run in undisturbed[0].runs:
        assert tensorboard_history(given_again.out, run) == mean_scores(given_again.out, run)


@pytest.mark.ray
def test_a_launch_on_ray_leaves_its_log_and_no_secret_of_its_environment(given_again: GivenAgain) -> None:
    written = [path for path in given_again.out.rglob("*") if path.is_file()]
    assert (given_again.out / "logs" / "ray.log") in written
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert SECRET not in given_again.log


@pytest.mark.nightly
@pytest.mark.ray
def test_a_command_that_was_interrupted_gives_its_folder_back_and_continues_when_it_is_given_again(
    undisturbed: tuple[Study, Path], study_path: Path, tmp_path: Path
) -> None:
    (study, whole), out = undisturbed, tmp_path / "out"
    study_path.write_text(LONG)
    interrupted = start(study_path, out)
    wait_for(lambda: half_trained(out), "a checkpoint")
    interrupted.send_signal(signal.SIGINT)
    _, message = interrupted.communicate()
    lease_after_interrupt = read_holder(out)
    finished = start(study_path, out)
    _, log = finished.communicate()

    assert interrupted.returncode == 130
    assert message.splitlines()[-1] == "portal: interrupted; the same command continues where it stopped"
    assert lease_after_interrupt == {}
    assert finished.returncode == 0, log
    assert_same(tables_of(study, out), tables_of(study, whole))


@pytest.mark.usefixtures("study_path")
def test_a_folder_of_gpu_runs_goes_on_on_a_cpu_only_when_it_is_told_to(
    tiny_study: Study, finished: Path, portal: Portal
) -> None:
    command = f"sweep run tiny.yaml --out '{finished}' --executor local"
    (finished / "runs" / tiny_study.runs[0].key / "DONE.json").unlink()
    (finished / "device.json").write_text('{"device": "cuda"}')

    refused = portal.refusal(command)
    went_on = portal(f"{command} --device cpu").err

    assert "its runs were computed on GPUs, and this launch is on CPUs" in refused
    assert "device: 1 worker on this CPU" in went_on
    assert "gpu-check" not in went_on
    assert UsedDevice.kept(finished) == UsedDevice(device="cpu")


class GpuElsewhere(Local):
    """A GPU that was there when it was asked for, and whose lanes end without a word."""

    def __init__(self, hardware: Device | None) -> None:
        self.wanted: list[Wanted] = []
        self._hardware = hardware

    @contextmanager
    def open(self, out: Folder, console: Console, wanted: Wanted) -> Iterator[Resources]:
        self.wanted.append(wanted)
        yield Resources((1,), "cuda", self._hardware, 1.0)

    def run(self, lanes: LaneRound) -> None:
        assert lanes.resources.device == "cuda"


@pytest.mark.parametrize(
    ("text", "options", "wanted"),
    [("", "--gpus 3", Wanted("cuda", 3)), ("device: cuda\n", "", Wanted("cuda")), ("", "", Wanted())],
)
def test_a_launch_wants_the_gpus_of_its_options_and_study_and_asks_for_a_check_of_what_it_gets(
    text: str, options: str, wanted: Wanted, study_path: Path, monkeypatch: pytest.MonkeyPatch, portal: Portal
) -> None:
    hardware = None if options else GPUS["b200"]
    elsewhere, name = GpuElsewhere(hardware), "such a GPU" if options else "B200"
    study_path.write_text(f"{TINY}\n{text}")
    monkeypatch.setitem(EXECUTORS, "plain", elsewhere)

    said = portal(f"sweep run tiny.yaml --out out --executor plain {options}", code=3).err

    assert elsewhere.wanted == [wanted]
    assert f"device: 1 worker on GPUs, each with one {'GPU' if options else name}" in said
    assert f"device: no gpu-check of {name} with torch " in said


def test_a_large_base_is_refused_on_a_cpu_until_the_device_is_named_for_it(
    tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    assert run_study(on_cpu(tiny_study).part([0]), out, executor="local").is_done
    assert UsedDevice.kept(out) == UsedDevice(device="cpu")  # named, but for small bases

    monkeypatch.setattr(checks, "LARGE_BASE_WEIGHTS", 1.0)
    for folder in (out, fresh):
        with pytest.raises(
            ValueError,
            match=r"billion weights in its layers, and this launch is on CPUs; .*--gpus N .*--device cpu",
        ) as raised:
            run_study(tiny_study, folder, executor="local")
        assert "\n" not in str(raised.value)
    assert UsedDevice.kept(fresh) is None

    lora, other = (
        replace(tiny_study, runs=(run,)) for run in tiny_study.runs if (run.method, run.seed) == ("lora", 1)
    )
    assert run_study(on_cpu(lora), out, executor="local").is_done
    assert UsedDevice.kept(out) == UsedDevice(device="cpu", named_for_large_bases=True)
    assert run_study(other, out, executor="local").is_done  # a launch of the folder has said so


@pytest.mark.usefixtures("study_path")
def test_a_device_that_cannot_be_had_is_refused_in_one_line(portal: Portal) -> None:
    for options, told in (
        ("--gpus 2", "executor 'local' computes on the CPU; GPUs need Ray's"),
        ("--device cuda", "executor 'local' computes on the CPU; GPUs need Ray's"),
        ("--device cpu --gpus 2", "2 GPUs are wanted with device 'cpu'"),
        ("--device gpu", "unknown 'gpu'"),
    ):
        assert told in portal.refusal(f"sweep run tiny.yaml --out out --executor local {options}")
