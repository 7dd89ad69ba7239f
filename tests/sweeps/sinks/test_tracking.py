"""Trackers hear of every epoch and end once, whole, and keep it; nothing that they do reaches a launch."""

import io
import json
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from rich.console import Console

from portal.config import RunConfig
from portal.results import RESULTS, read_table, write_table
from sweeps.launch.driver import run_study
from sweeps.sinks.trackers import TRACKERS, TensorBoard, Tracker
from sweeps.sinks.tracking import TrackerSink, TrackerSupervisor, epoch_metrics, record_path, without_secrets
from sweeps.store.lease import LeaseLost, acquire
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from sweeps.worker.job import log_path
from tests.support.studies import PATIENCE_S, silent, wait_for
from tests.support.trackers import Scores, mean_scores, tensorboard_history


class Recorder(Tracker):
    """Keeps what it is told in memory; breaks at the log of that number, and refuses runs."""

    name, module, package = "recorder", "json", "python"

    def __init__(self) -> None:
        super().__init__("tiny", Path())
        self.break_at: int | None = None
        self.refused: set[str] = set()
        self.metrics: dict[tuple[str, int], dict[str, float]] = {}
        self.logged: list[tuple[str, int]] = []
        self.ends: list[tuple[str, bool]] = []

    def open(self, key, name, config, known):
        self.runs[key] = known
        return f"id of {key}"

    def log(self, key, epoch, metrics):
        if key in self.refused:
            raise ValueError("refused")
        if len(self.logged) == self.break_at:
            raise ConnectionError("no route to host")
        self.logged.append((key, epoch))
        self.metrics[key, epoch] = dict(metrics)

    def end(self, key, *, failed):
        del self.runs[key]
        self.ends.append((key, failed))


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch waits until a tracker's process has begun, however long its library takes to load."""
    monkeypatch.setattr("sweeps.sinks.tracking.CLOSE_S", PATIENCE_S)


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lora(tiny_study: Study) -> RunConfig:
    return next(run for run in tiny_study.runs if run.method == "lora")


def launch(study: Study, out: Path, *trackers: str, told: io.StringIO | None = None) -> None:
    console = silent() if told is None else Console(file=told, width=1000)
    assert run_study(study, out, executor="local", console=console, trackers=trackers).is_done


def supervisor(study: Study, out: Path, tracker: str, told: io.StringIO) -> TrackerSupervisor:
    return TrackerSupervisor(out, study.name, [tracker], Console(file=told, width=1000))


def report(study: Study, out: Path, recorder: Recorder) -> None:
    TrackerSink(out, study.manifest, recorder).report()


def test_every_epoch_and_end_is_reported_once_by_whichever_process_and_holds_means_tasks_and_costs(
    finished: Path, tiny_study: Study
) -> None:
    recorder = Recorder()
    recorder.break_at = 4
    with pytest.raises(ConnectionError):
        report(tiny_study, finished, recorder)
    reported_first = len(recorder.logged)
    recorder.break_at = None
    for _ in range(2):
        report(tiny_study, finished, recorder)

    epochs = {run.key: run.train.epochs if run.train else 0 for run in tiny_study.runs}
    every = [(key, epoch) for key, last in epochs.items() for epoch in range(last + 1)]
    assert 0 < reported_first < len(every)
    assert sorted(recorder.logged) == sorted(every)
    assert sorted(recorder.ends) == sorted((run.key, False) for run in tiny_study.runs)
    port = next(run for run in tiny_study.runs if run.method == "portal")
    metrics = recorder.metrics[port.key, 2]
    tasks = [metrics[f"test_acc_norm/{task}"] for task in tiny_study.tasks]
    assert metrics["test/acc_norm"] == pytest.approx(sum(tasks) / len(tasks))
    assert metrics["cost/train_tokens"] > 0
    assert len(metrics) == 2 * 3 * (1 + len(tasks)) + 3


def table_of(out: Path, run: RunConfig) -> tuple[pa.Table, Path]:
    """The run's table of results, and its place."""
    path = RunStore(out).run_folder(run.key) / "results.parquet"
    return read_table(path, RESULTS), path


def test_an_epoch_that_comes_in_parts_is_reported_when_it_is_whole(
    finished: Path, tiny_study: Study, lora: RunConfig
) -> None:
    table, path = table_of(finished, lora)
    (path.parent / "DONE.json").unlink()
    recorder = Recorder()
    sink = TrackerSink(finished, tiny_study.manifest, recorder)

    for number, reported in enumerate(([], [1])):
        rows = table.filter((pc.field("epoch") == 1) & (pc.field("task") == tiny_study.tasks[number]))
        write_table(rows, finished / f"packs/{'0' * 16}/parts/{lora.key}/{number:06d}.results.parquet")
        sink.report()
        assert [epoch for key, epoch in recorder.logged if key == lora.key] == reported
    assert lora.key not in dict(recorder.ends)


def test_an_epoch_with_test_rows_of_some_tasks_is_reported_by_its_validation_rows(
    finished: Path, tiny_study: Study, lora: RunConfig
) -> None:
    """As with `test_scores: kept`, where each task has its own kept epoch."""
    table, path = table_of(finished, lora)
    of_epoch = (pc.field("epoch") == 1) & (pc.field("split") == "test")
    write_table(table.filter(~(of_epoch & (pc.field("task") == tiny_study.tasks[1]))), path)
    recorder = Recorder()

    report(tiny_study, finished, recorder)

    for epoch, splits in enumerate(({"validation", "test"}, {"validation"}, {"validation", "test"})):
        names = {name.partition("/")[0] for name in recorder.metrics[lora.key, epoch]}
        assert names & {"validation", "test"} == splits


def test_a_run_that_failed_and_was_tried_again_is_reported_anew(finished: Path, tiny_study: Study) -> None:
    store, key = RunStore(finished), tiny_study.runs[0].key
    marker = store.run_folder(key) / "DONE.json"
    content = marker.read_bytes()
    marker.unlink()
    store.mark_failed(key, "loss is nan", log_path(store.out, 0))
    recorder = Recorder()
    for _ in range(2):
        report(tiny_study, finished, recorder)
    store.forget_failed([key])
    marker.write_bytes(content)
    report(tiny_study, finished, recorder)
    assert [failed for of, failed in recorder.ends if of == key] == [True, False]


def test_a_run_on_several_bases_has_a_metric_for_each() -> None:
    costs = dict.fromkeys(("train_tokens", "train_flops", "wall_s"))
    rows = [
        {"base": base, "task": "sums", "split": "test", "acc": value, "log_loss": 1.0}
        | {"metric": "acc_norm", "score": value, "acc_norm": value}
        | costs
        for base, value in (("a", 0.25), ("b", 0.75))
    ]
    metrics = epoch_metrics(rows)
    assert (metrics["test/acc_norm"], metrics["test_acc_norm/b/sums"]) == (0.5, 0.75)
    assert not any(name.startswith("cost") for name in metrics)


@pytest.mark.slow
def test_a_process_ends_with_its_driver_or_its_lease_and_reports_nothing(
    finished: Path, tiny_study: Study
) -> None:
    command = [sys.executable, "-m", "sweeps.sinks.tracking", str(finished), tiny_study.name, "tensorboard"]
    with acquire(finished) as lease:
        for token, word in (("0" * 16, "finish"), (lease.token, "")):
            done = subprocess.run([*command, token], input=word, text=True, timeout=PATIENCE_S, check=False)
            assert done.returncode == 0
    assert not (finished / "trackers").exists()


def test_runs_that_the_tracker_refuses_keep_no_other_from_it(finished: Path, tiny_study: Study) -> None:
    recorder = Recorder()
    recorder.refused = {run.key for run in tiny_study.runs if run.method != "portal"}
    with pytest.raises(ValueError, match="refused"):
        report(tiny_study, finished, recorder)
    assert {key for key, _ in recorder.ends} == set(tiny_study.by_key) - recorder.refused


def test_nothing_is_reported_or_recorded_any_more_when_another_reporter_may_be_at_work(
    finished: Path, tiny_study: Study
) -> None:
    recorder = Recorder()

    def check_lease() -> None:
        if len(recorder.logged) >= 3:
            raise LeaseLost("gone")

    with pytest.raises(LeaseLost):
        TrackerSink(finished, tiny_study.manifest, recorder, check_lease).report()
    assert len(recorder.logged) == 3


def test_a_tracker_out_of_reach_stops_nothing_and_no_secret_of_its_address_is_kept(
    finished: Path, tiny_study: Study, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("MLFLOW_TRACKING_URI", "http://me:s3cret-word@127.0.0.1:9/"),
        ("MLFLOW_TRACKING_PASSWORD", "another-s3cret"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0"),
    ):
        monkeypatch.setenv(name, value)
    launch(tiny_study, finished, "mlflow", told=said)
    assert "tracker mlflow: not all of the study is logged (MlflowException: " in said.getvalue()
    assert "the same command logs the rest" in said.getvalue()
    assert "s3cret" not in said.getvalue()
    kept = [path for path in finished.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert kept == []


def test_secrets_are_taken_out_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "abcdef123456")
    text = "no\n  answer from https://me:p@w@host/x with abcdef123456"
    assert without_secrets(text) == "no answer from https://host/x with $SOME_API_KEY"


@pytest.mark.slow
def test_a_tracker_that_does_not_answer_is_left_after_a_while(
    finished: Path, tiny_study: Study, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, acquire(finished) as lease:
        server.settimeout(PATIENCE_S)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        feed = supervisor(tiny_study, finished, "mlflow", said)
        feed.start(lease.token)
        with server.accept()[0]:  # it was asked
            feed.close(4.0)
    assert "tracker mlflow: logging the rest" in said.getvalue()
    assert "nothing new for 4 s" in said.getvalue()


def write_record(out: Path, study: Study, text: str) -> None:
    """Put this in the place of the record of what TensorBoard has heard."""
    path = record_path(out, study.name, TRACKERS["tensorboard"])
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_a_record_that_is_not_readable_is_refused_before_anything_runs(
    finished: Path, tiny_study: Study
) -> None:
    write_record(finished, tiny_study, "{}")
    with pytest.raises(ValueError, match=r"what a tracker has heard \(.+\); delete it, and all runs are"):
        launch(tiny_study, finished, "tensorboard")


def test_a_process_that_ended_is_started_again_and_one_that_hangs_is_never_waited_for(
    finished: Path, tiny_study: Study, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.sinks.tracking._FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("sweeps.sinks.tracking.LOOK_S", 0.01)
    started: list[subprocess.Popen] = []
    begin = subprocess.Popen

    def popen(command: list[str], **options: object) -> subprocess.Popen:
        started.append(begin(["sleep", "60"] if started else ["false"], **options))
        return started[-1]

    feed = supervisor(tiny_study, finished, "tensorboard", said)
    monkeypatch.setattr(subprocess, "Popen", popen)
    feed.start("0" * 16)
    wait_for(lambda: len(started) == 2, "the second process")
    time.sleep(0.1)
    feed.close(0.5)
    assert len(started) == 2
    assert started[1].poll() is not None


def test_a_process_that_crashes_is_not_told_by_the_trouble_of_an_earlier_one(
    finished: Path, tiny_study: Study, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(finished, tiny_study, '{"runs": {}, "trouble": "ValueError: of last week"}')
    feed = supervisor(tiny_study, finished, "tensorboard", said)
    begin = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **options: begin(["false"], **options))

    feed.start("0" * 16)
    feed.close()

    assert "(its process ended with 1)" in said.getvalue()

    damaged = supervisor(tiny_study, finished, "tensorboard", said)
    write_record(finished, tiny_study, "{}")  # while the launch goes on
    damaged.start("0" * 16)
    damaged.close()

    assert "delete it, and all runs are logged anew" in " ".join(said.getvalue().split())


@pytest.mark.slow
def test_every_tracker_keeps_what_was_logged_once(
    finished: Path,
    tiny_study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in (
        ("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlflow'}"),
        ("MLFLOW_ALLOW_FILE_STORE", "true"),
        ("WANDB_MODE", "offline"),
        ("TRACKIO_DIR", str(tmp_path / "trackio")),
    ):
        monkeypatch.setenv(name, value)

    for _ in range(2):  # the second launch has nothing to tell
        launch(tiny_study, finished, *TRACKERS)

    assert capsys.readouterr().out == ""
    assert {*READERS} == {*TRACKERS}
    for run in tiny_study.runs:
        for tracker, read in READERS.items():
            assert read(finished, run) == mean_scores(finished, run), tracker


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
        launch(tiny_study, tmp_path, name)
    assert not (tmp_path / "runs").exists()


def id_of(out: Path, tracker: str, run: RunConfig) -> str:
    """The run's id at the tracker, as the record has it."""
    (path,) = (out / "trackers").glob(f"{tracker}.*.json")
    return json.loads(path.read_text())["runs"][run.key]["id"]


def mlflow_history(out: Path, run: RunConfig) -> Scores:
    from mlflow import MlflowClient

    client = MlflowClient()
    known = client.get_run(id_of(out, "mlflow", run))
    assert (known.info.status, known.data.tags["portal.run"]) == ("FINISHED", run.key)
    assert known.data.params["method"] == run.method
    assert client.get_experiment(known.info.experiment_id).name == "tiny"
    history = client.get_metric_history(known.info.run_id, "test/acc_norm")
    return [(metric.step, metric.value) for metric in history]


def trackio_history(out: Path, run: RunConfig) -> Scores:
    (path,) = (out.parent / "trackio").glob("tiny.db")
    with sqlite3.connect(path) as database:
        rows = database.execute(
            "select step, metrics from metrics where run_name = ? order by step",
            (id_of(out, "trackio", run),),
        ).fetchall()
    return [(step, json.loads(metrics)["test/acc_norm"]) for step, metrics in rows]


def wandb_history(out: Path, run: RunConfig) -> Scores:
    from wandb.proto import wandb_internal_pb2

    known, history = id_of(out, "wandb", run), []
    (file,) = (out / "trackers" / "wandb").glob(f"offline-run-*-{known}/run-{known}.wandb")
    content = file.read_bytes()
    assert str(out).encode() not in content  # nor anything else of this machine
    for data in log_records(content):
        items = {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in wandb_internal_pb2.Record.FromString(data).history.item
        }
        if "test/acc_norm" in items:
            history.append((items["_step"], items["test/acc_norm"]))
    return history


READERS: dict[str, Callable[[Path, RunConfig], Scores]] = {
    "tensorboard": tensorboard_history,
    "mlflow": mlflow_history,
    "wandb": wandb_history,
    "trackio": trackio_history,
}


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
