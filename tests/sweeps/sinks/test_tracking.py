"""Trackers hear of every epoch and end once, whole, and keep it; nothing that they do reaches a launch."""

import io
import json
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pytest
from rich.console import Console

from portal.results import RESULTS, read_table, write_table
from sweeps.launch.driver import run_study
from sweeps.sinks.trackers import TRACKERS, TensorBoard, Tracker
from sweeps.sinks.tracking import TrackerSink, TrackerSupervisor, epoch_metrics, record_path, without_secrets
from sweeps.store.lease import LeaseLost, acquire
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from sweeps.worker.job import log_path
from tests.support.studies import PATIENCE_S, silent


class Recorder(Tracker):
    """Keeps what it is told in memory; breaks at the log of that number, and refuses runs."""

    name, module, package = "recorder", "json", "python"

    def __init__(self) -> None:
        super().__init__("tiny", Path())
        self.told: list[tuple] = []
        self.break_at: int | None = None
        self.refused: set[str] = set()

    def open(self, key, name, config, known):
        self.runs[key] = known
        self.told.append(("open", key, known))
        return f"id of {key}"

    def log(self, key, epoch, metrics):
        if key in self.refused:
            raise ValueError("refused")
        if len(self.logged) == self.break_at:
            raise ConnectionError("no route to host")
        self.told.append(("log", key, epoch, dict(metrics)))

    def end(self, key, *, failed):
        del self.runs[key]
        self.told.append(("end", key, failed))

    @property
    def logged(self) -> list[tuple[str, int]]:
        return [(key, epoch) for what, key, epoch, *_ in self.told if what == "log"]

    @property
    def ends(self) -> list[tuple[str, bool]]:
        return [(key, failed) for what, key, failed, *_ in self.told if what == "end"]

    @property
    def metrics(self) -> dict[tuple[str, int], dict[str, float]]:
        return {(key, epoch): told[0] for what, key, epoch, *told in self.told if what == "log"}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch waits until a tracker's process has begun, however long its library takes to load."""
    monkeypatch.setattr("sweeps.sinks.tracking.CLOSE_S", PATIENCE_S)


def launch(study: Study, out: Path, tracker: str, console: Console | None = None) -> None:
    outcome = run_study(study, out, executor="local", console=console or silent(), trackers=[tracker])
    assert outcome.is_done


def test_every_epoch_and_end_is_reported_once_by_whichever_process_and_holds_means_tasks_and_costs(
    finished: Path, tiny_study: Study
) -> None:
    recorder = Recorder()
    recorder.break_at = 4
    with pytest.raises(ConnectionError):
        TrackerSink(finished, tiny_study.manifest, recorder).report()
    reported_first = len(recorder.logged)
    recorder.break_at = None
    for _ in range(2):
        TrackerSink(finished, tiny_study.manifest, recorder).report()

    assert 0 < reported_first < len(expected(tiny_study))
    assert sorted(recorder.logged) == expected(tiny_study)
    assert sorted(recorder.ends) == sorted((run.key, False) for run in tiny_study.runs)
    port = next(run for run in tiny_study.runs if run.method == "portal")
    metrics = recorder.metrics[port.key, 2]
    tasks = [metrics[f"test_acc_norm/{task}"] for task in tiny_study.tasks]
    assert metrics["test/acc_norm"] == pytest.approx(sum(tasks) / len(tasks))
    assert metrics["cost/train_tokens"] > 0
    assert len(metrics) == 2 * 3 * (1 + len(tasks)) + 3


def test_an_epoch_that_comes_in_parts_is_reported_when_it_is_whole(finished: Path, tiny_study: Study) -> None:
    lora = next(run for run in tiny_study.runs if run.method == "lora")
    folder = RunStore(finished).run_folder(lora.key)
    table = read_table(folder / "results.parquet", RESULTS)
    (folder / "DONE.json").unlink()
    parts = finished / "packs" / ("0" * 16) / "parts" / lora.key
    recorder = Recorder()
    sink = TrackerSink(finished, tiny_study.manifest, recorder)

    def add(number: int, task: str) -> list[int]:
        rows = table.filter((pc.field("epoch") == 1) & (pc.field("task") == task))
        write_table(rows, parts / f"{number:06d}.results.parquet")
        sink.report()
        return [epoch for key, epoch in recorder.logged if key == lora.key]

    assert add(0, tiny_study.tasks[0]) == []
    assert add(1, tiny_study.tasks[1]) == [1]
    assert not any(key == lora.key for key, _ in recorder.ends)


def test_an_epoch_with_test_rows_of_some_tasks_is_reported_by_its_validation_rows(
    finished: Path, tiny_study: Study
) -> None:
    """As with `test_scores: kept`, where each task has its own kept epoch."""
    lora = next(run for run in tiny_study.runs if run.method == "lora")
    folder = RunStore(finished).run_folder(lora.key)
    table = read_table(folder / "results.parquet", RESULTS)
    lacks = (
        (pc.field("epoch") == 1) & (pc.field("split") == "test") & (pc.field("task") == tiny_study.tasks[1])
    )
    write_table(table.filter(~lacks), folder / "results.parquet")
    recorder = Recorder()

    TrackerSink(finished, tiny_study.manifest, recorder).report()

    splits = {
        epoch: {name.partition("/")[0] for name in metrics} & {"validation", "test"}
        for (key, epoch), metrics in recorder.metrics.items()
        if key == lora.key
    }
    assert splits == {0: {"validation", "test"}, 1: {"validation"}, 2: {"validation", "test"}}


def test_a_run_that_failed_and_was_tried_again_is_reported_anew(finished: Path, tiny_study: Study) -> None:
    store, key = RunStore(finished), tiny_study.runs[0].key
    marker = store.run_folder(key) / "DONE.json"
    content = marker.read_bytes()
    marker.unlink()
    store.mark_failed(key, "loss is nan", log_path(store.out, 0))
    recorder = Recorder()
    for _ in range(2):
        TrackerSink(finished, tiny_study.manifest, recorder).report()
    store.forget_failed([key])
    marker.write_bytes(content)
    TrackerSink(finished, tiny_study.manifest, recorder).report()
    assert [failed for of, failed in recorder.ends if of == key] == [True, False]


def test_a_run_on_several_bases_has_a_metric_for_each() -> None:
    rows = [
        {"base": base, "task": "sums", "split": "test", "acc": value, "log_loss": 1.0}
        | {"metric": "acc_norm", "score": value, "acc_norm": value}
        | dict.fromkeys(("train_tokens", "train_flops", "wall_s"))
        for base, value in (("a", 0.25), ("b", 0.75))
    ]
    metrics = epoch_metrics(rows)
    assert metrics["test/acc_norm"] == 0.5
    assert metrics["test_acc_norm/b/sums"] == 0.75
    assert not any(name.startswith("cost") for name in metrics)


@pytest.mark.slow
@pytest.mark.parametrize(("token", "word"), [("0" * 16, "finish"), (None, "")])
def test_a_process_ends_with_its_driver_or_its_lease_and_reports_nothing(
    token: str | None, word: str, finished: Path, tiny_study: Study
) -> None:
    command = [sys.executable, "-m", "sweeps.sinks.tracking", str(finished), tiny_study.name, "tensorboard"]
    with acquire(finished) as lease:
        command.append(token or lease.token)
        done = subprocess.run(command, input=word, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0
    assert not (finished / "trackers").exists()


def test_runs_that_the_tracker_refuses_keep_no_other_from_it(finished: Path, tiny_study: Study) -> None:
    recorder = Recorder()
    recorder.refused = {run.key for run in tiny_study.runs if run.method != "portal"}
    with pytest.raises(ValueError, match="refused"):
        TrackerSink(finished, tiny_study.manifest, recorder).report()
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


def test_secrets_are_taken_out_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "abcdef123456")
    text = "no\n  answer from https://me:p@w@host/x with abcdef123456"
    assert without_secrets(text) == "no answer from https://host/x with $SOME_API_KEY"


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
    write_record(finished, tiny_study, "{}")
    with pytest.raises(ValueError, match="not readable; delete it, and all runs are logged anew"):
        run_study(tiny_study, finished, executor="local", console=silent(), trackers=["tensorboard"])


def test_a_process_that_has_ended_is_started_again_and_one_that_hangs_is_never_waited_for(
    finished: Path, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.sinks.tracking._FIRST_PAUSE_S", 0.0)
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
    feed.poll()
    assert len(started) == 2
    feed.close(0.5)
    assert started[1].poll() is not None


def test_a_process_that_crashes_is_not_told_by_the_trouble_of_an_earlier_one(
    finished: Path, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(finished, tiny_study, '{"runs": {}, "trouble": "ValueError: of last week"}')
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


def expected(study: Study) -> list[tuple[str, int]]:
    """Every (run, epoch) that the study evaluates."""
    return sorted(
        (run.key, epoch)
        for run in study.runs
        for epoch in (range(run.train.epochs + 1) if run.train is not None else [0])
    )


def write_record(out: Path, study: Study, text: str) -> None:
    """Put this in the place of the record of what TensorBoard has heard."""
    path = record_path(out, study.name, TRACKERS["tensorboard"])
    path.parent.mkdir()
    path.write_text(text)


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
