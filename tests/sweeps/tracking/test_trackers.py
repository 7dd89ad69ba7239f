"""Trackers beside a launch: what they keep, read with their own readers, and what they cannot do to it."""

import io
import json
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from portal.results import RESULTS, read_table
from sweeps.launch.driver import run_study
from sweeps.store.lease import acquire
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from sweeps.tracking.reporter import record_path
from sweeps.tracking.supervisor import TrackerSupervisor
from sweeps.tracking.tensorboard import TensorBoard
from sweeps.tracking.trackers import TRACKERS
from tests.support.studies import PATIENCE_S, silent


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch waits until a tracker's process has begun, however long its library takes to load."""
    monkeypatch.setattr("sweeps.tracking.supervisor.CLOSE_S", PATIENCE_S)


def launch(study: Study, out: Path, tracker: str, console: Console | None = None) -> None:
    outcome = run_study(study, out, executor="local", console=console or silent(), trackers=[tracker])
    assert outcome.is_done


def test_a_tracker_out_of_reach_stops_nothing_and_no_secret_of_its_address_is_kept(
    finished: Path, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret-word@127.0.0.1:9/")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another-s3cret")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said = io.StringIO()
    launch(tiny_study, finished, "mlflow", Console(file=said, width=1000))
    assert "tracker mlflow: not all of the study is logged (MlflowException: " in said.getvalue()
    assert "the same command logs the rest" in said.getvalue()
    kept = [path for path in finished.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert kept == []
    assert "s3cret" not in said.getvalue()


@pytest.mark.slow
def test_a_tracker_that_does_not_answer_is_left_after_a_while(
    finished: Path, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    with socket.create_server(("127.0.0.1", 0)) as server, acquire(finished) as lease:
        server.settimeout(PATIENCE_S)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        feed = TrackerSupervisor(finished, tiny_study.name, ["mlflow"], Console(file=said, width=1000))
        feed.start(lease.token)
        feed.poll()
        with server.accept()[0]:  # it was asked
            feed.close(4.0)
    assert "tracker mlflow: logging the rest" in said.getvalue()
    assert "nothing new for 4 s" in said.getvalue()


def test_a_record_that_is_not_readable_is_refused_before_anything_runs(
    finished: Path, tiny_study: Study
) -> None:
    path = record_path(finished, tiny_study.name, TRACKERS["tensorboard"])
    path.parent.mkdir()
    path.write_text("{}")
    with pytest.raises(ValueError, match="not readable; delete it, and all runs are logged anew"):
        run_study(tiny_study, finished, executor="local", console=silent(), trackers=["tensorboard"])


def test_a_process_that_has_ended_is_started_again_and_one_that_hangs_is_never_waited_for(
    finished: Path, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.tracking.supervisor._FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("sweeps.tracking.supervisor.POLL_S", 0.0)
    started: list[subprocess.Popen] = []
    begin = subprocess.Popen

    def popen(command: list[str], **options: object) -> subprocess.Popen:
        started.append(begin(["sleep", "60"] if len(started) else ["false"], **options))
        return started[-1]

    feed = TrackerSupervisor(finished, tiny_study.name, ["tensorboard"], silent())
    monkeypatch.setattr(subprocess, "Popen", popen)
    feed.start("0" * 16)
    started[0].wait()
    feed.poll()
    assert len(started) == 2
    for _ in range(20_000):  # more than a pipe holds
        feed.poll()
    feed.close(0.5)
    assert started[1].poll() is not None


def test_a_process_that_crashes_is_not_told_by_the_trouble_of_an_earlier_one(
    finished: Path, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record_path(finished, tiny_study.name, TRACKERS["tensorboard"])
    path.parent.mkdir()
    path.write_text(json.dumps({"runs": {}, "trouble": "ValueError: of last week"}))
    said = io.StringIO()
    feed = TrackerSupervisor(finished, tiny_study.name, ["tensorboard"], Console(file=said, width=1000))
    begin = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **options: begin(["false"], **options))

    feed.start("0" * 16)
    feed.close()

    assert "(its process ended with 1)" in said.getvalue()


@pytest.mark.slow
def test_tensorboard_reads_what_was_logged(finished: Path, tiny_study: Study) -> None:
    for _ in range(2):  # the second launch has nothing to tell
        launch(tiny_study, finished, "tensorboard")
    for run in tiny_study.runs:
        assert scalars_of(finished, run.key) == accuracies(finished, run.key)


@pytest.mark.slow
def test_mlflow_reads_what_was_logged(
    finished: Path, tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    address = f"file:{tmp_path / 'mlflow'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    launch(tiny_study, finished, "mlflow")
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(tiny_study.name)
    assert experiment is not None
    runs = {run.data.tags["portal.run"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == set(tiny_study.by_key)
    for key, run in runs.items():
        assert run.info.status == "FINISHED"
        assert run.data.params["method"] == tiny_study.by_key[key].method
        history = client.get_metric_history(run.info.run_id, "test/acc_norm")
        assert [(metric.step, metric.value) for metric in history] == accuracies(finished, key)


@pytest.mark.slow
def test_wandb_keeps_what_was_logged(
    finished: Path, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    launch(tiny_study, finished, "wandb")
    told = told_by(finished, "wandb")
    for run in tiny_study.runs:
        known = told[run.key]["id"]
        (file,) = (finished / "trackers" / "wandb").glob(f"offline-run-*-{known}/run-{known}.wandb")
        assert wandb_history(file) == accuracies(finished, run.key)
        assert str(finished).encode() not in file.read_bytes()  # nor anything else of this machine


def test_trackio_keeps_what_was_logged(
    finished: Path,
    tiny_study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    launch(tiny_study, finished, "trackio")
    told = told_by(finished, "trackio")
    assert capsys.readouterr().out == ""
    with sqlite3.connect(tmp_path / "trackio" / f"{tiny_study.name}.db") as database:
        rows = database.execute(
            "select run_name, step, metrics from metrics order by run_name, step"
        ).fetchall()
    for run in tiny_study.runs:
        kept = [
            (step, json.loads(metrics)["test/acc_norm"])
            for name, step, metrics in rows
            if name == told[run.key]["id"]
        ]
        assert kept == accuracies(finished, run.key)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensorbord", "unknown tracker 'tensorbord'; did you mean 'tensorboard'"),
        ("absent", r"tracker absent: not installed; `pip install 'portal-sweeps\[absent\]'` brings it"),
        ("mlflow", "tracker mlflow: set MLFLOW_TRACKING_URI"),
    ],
)
def test_a_tracker_that_cannot_work_is_a_mistake_before_anything_runs(
    name: str, message: str, tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent(TensorBoard):
        name, module, package = "absent", "no_such_library", "portal-sweeps[absent]"

    monkeypatch.setitem(TRACKERS, "absent", Absent)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match=message):
        run_study(tiny_study, tmp_path, executor="local", console=silent(), trackers=[name])
    assert not (tmp_path / "runs").exists()


@pytest.mark.ray
def test_tune_wakes_trackers_while_lanes_work(
    tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    poll = TrackerSupervisor.poll
    monkeypatch.setattr(TrackerSupervisor, "poll", lambda feed: (woken.append(1), poll(feed)))
    run_study(tiny_study, tmp_path, executor="plain", console=silent(), trackers=["tensorboard"])
    assert len(woken) > 3
    for run in tiny_study.runs:
        assert scalars_of(tmp_path, run.key) == accuracies(tmp_path, run.key)


def told_by(out: Path, tracker: str) -> dict[str, dict]:
    """What the record says of every run."""
    (path,) = (out / "trackers").glob(f"{tracker}.*.json")
    return json.loads(path.read_text())["runs"]


def scalars_of(out: Path, key: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "trackers" / "tensorboard" / key)).Reload()
    return [(event.step, event.value) for event in events.Scalars("test/acc_norm")]


def accuracies(out: Path, key: str) -> list[tuple[int, float]]:
    """(epoch, task mean of acc_norm on test rows), from the run's own table."""
    by_epoch: dict[int, list[float]] = {}
    for row in read_table(RunStore(out).run_folder(key) / "results.parquet", RESULTS).to_pylist():
        if row["split"] == "test":
            by_epoch.setdefault(row["epoch"], []).append(row["acc_norm"])
    return [(epoch, pytest.approx(sum(values) / len(values))) for epoch, values in sorted(by_epoch.items())]


def wandb_history(file: Path) -> list[tuple[int, float]]:
    """(step, test/acc_norm) in an offline run's file."""
    from wandb.proto import wandb_internal_pb2

    history = []
    for data in log_records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        items = {
            item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
        }
        if "test/acc_norm" in items:
            history.append((items["_step"], items["test/acc_norm"]))
    return history


def log_records(content: bytes) -> Iterator[bytes]:
    """Records of a file in LevelDB's log format, after the seven bytes that W&B begins it with."""
    block, place, record = 32768, 7, b""
    while place + 7 <= len(content):
        if block - place % block < 7:
            place += block - place % block  # a header does not cross blocks
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # full, last
            yield record
            record = b""
