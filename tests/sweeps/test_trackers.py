"""Trackers are told every epoch of every run once; what they keep is read with their own readers."""

import io
import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console

from portal.results import RESULTS, read_table
from sweeps.launch import run_study
from sweeps.run_feed import RunFeed, epoch_metrics
from sweeps.store import Store
from sweeps.study import Study
from sweeps.trackers import TRACKERS, Tracker
from tests.sweeps.conftest import silent


class Recorder(Tracker):
    """Keeps what it is told in memory; refuses while `broken`."""

    name = "recorder"
    told: ClassVar[list[tuple]]
    broken: ClassVar[bool]
    interrupt_at: ClassVar[int | None]

    def __init__(self, study: str, folder: Path) -> None:
        super().__init__(study)

    def open(self, key, name, config, known):
        self._check()
        self.told.append(("open", key, known))
        return f"id of {key}"

    def log(self, key, epoch, metrics):
        self._check()
        if len(logged(self.told)) == self.interrupt_at:
            type(self).interrupt_at = None
            raise KeyboardInterrupt
        self.told.append(("log", key, epoch, dict(metrics)))

    def end(self, key, *, failed):
        self._check()
        self.told.append(("end", key, failed))

    def _check(self) -> None:
        if self.broken:
            raise ConnectionError("no route to host")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setattr(Recorder, "told", [], raising=False)
    monkeypatch.setattr(Recorder, "broken", False, raising=False)
    monkeypatch.setattr(Recorder, "interrupt_at", None, raising=False)
    monkeypatch.setitem(TRACKERS, "recorder", Recorder)
    return Recorder


def expected(study: Study) -> set[tuple[str, int]]:
    """Every (run, epoch) that the study evaluates."""
    return {
        (run.key, epoch)
        for run in study.runs
        for epoch in (range(run.train.epochs + 1) if run.train is not None else [0])
    }


def logged(told: list[tuple]) -> list[tuple[str, int]]:
    return [(key, epoch) for what, key, epoch, *_ in told if what == "log"]


@pytest.fixture
def finished(unbroken: tuple[Path, object], tmp_path: Path) -> Path:
    """A copy of an output folder whose study is done."""
    return Path(shutil.copytree(unbroken[0], tmp_path / "finished"))


def launch(study: Study, out: Path, tracker: str, console: Console | None = None) -> None:
    outcome = run_study(study, out, executor="local", console=console or silent(), trackers=[tracker])
    assert outcome.exit_code == 0


def test_every_epoch_of_every_run_is_told_once_in_spite_of_an_interruption(
    tiny_study: Study, tmp_path: Path, recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.run_feed.POLL_S", 0.0)
    recorder.interrupt_at = 4
    with pytest.raises(KeyboardInterrupt):
        launch(tiny_study, tmp_path, "recorder")
    told_first = len(logged(recorder.told))
    launch(tiny_study, tmp_path, "recorder")
    assert 0 < told_first < len(expected(tiny_study))
    assert sorted(logged(recorder.told)) == sorted(expected(tiny_study))
    ends = [(key, failed) for what, key, failed, *_ in recorder.told if what == "end"]
    assert sorted(ends) == sorted((run.key, False) for run in tiny_study.runs)


def test_a_study_that_was_finished_before_is_told_afterwards_and_not_twice(
    finished: Path, tiny_study: Study, recorder: type[Recorder]
) -> None:
    for _ in range(2):
        launch(tiny_study, finished, "recorder")
    assert sorted(logged(recorder.told)) == sorted(expected(tiny_study))


def test_metrics_are_task_means_each_task_and_costs(
    finished: Path, tiny_study: Study, recorder: type[Recorder]
) -> None:
    launch(tiny_study, finished, "recorder")
    port = next(run for run in tiny_study.runs if run.method == "portal")
    metrics = metrics_of(recorder.told)[port.key, 2]
    tasks = [metrics[f"test_acc_norm/{task}"] for task in tiny_study.tasks]
    assert metrics["test/acc_norm"] == pytest.approx(sum(tasks) / len(tasks))
    assert metrics["cost/train_tokens"] > 0
    assert len(metrics) == 2 * 3 * (1 + len(tasks)) + 3


def test_a_run_on_several_bases_has_a_metric_for_each() -> None:
    rows = [
        {"base": base, "task": "sums", "split": "test", "acc_norm": value, "acc": value, "log_loss": 1.0}
        | dict.fromkeys(("train_tokens", "train_flops", "wall_s"))
        for base, value in (("a", 0.25), ("b", 0.75))
    ]
    metrics = epoch_metrics(rows)
    assert metrics["test/acc_norm"] == 0.5
    assert metrics["test_acc_norm/b/sums"] == 0.75
    assert not any(name.startswith("cost") for name in metrics)


def test_a_tracker_out_of_reach_stops_nothing_is_named_and_told_by_the_next_launch(
    finished: Path, tiny_study: Study, recorder: type[Recorder]
) -> None:
    recorder.broken = True
    said = io.StringIO()
    launch(tiny_study, finished, "recorder", Console(file=said, width=200))
    assert "tracker recorder: not all of the study is logged (no route to host)" in said.getvalue()
    recorder.broken = False
    launch(tiny_study, finished, "recorder")
    assert sorted(logged(recorder.told)) == sorted(expected(tiny_study))


def test_tensorboard_reads_what_was_logged(finished: Path, tiny_study: Study) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    launch(tiny_study, finished, "tensorboard")
    for run in tiny_study.runs:
        events = EventAccumulator(str(finished / "trackers" / "tensorboard" / run.key)).Reload()
        scalars = [(event.step, event.value) for event in events.Scalars("test/acc_norm")]
        assert scalars == [(step, pytest.approx(value)) for step, value in accuracies(finished, run.key)]


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


def test_wandb_keeps_what_was_logged(
    finished: Path, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    launch(tiny_study, finished, "wandb")
    for run in tiny_study.runs:
        (file,) = (finished / "trackers" / "wandb").glob(f"offline-run-*-{run.key}/run-{run.key}.wandb")
        assert wandb_history(file) == accuracies(finished, run.key)


def test_trackio_keeps_what_was_logged(
    finished: Path,
    tiny_study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    launch(tiny_study, finished, "trackio")
    assert capsys.readouterr().out == ""
    with sqlite3.connect(tmp_path / "trackio" / f"{tiny_study.name}.db") as database:
        rows = database.execute(
            "select run_name, step, metrics from metrics order by run_name, step"
        ).fetchall()
    for run in tiny_study.runs:
        kept = [
            (step, json.loads(metrics)["test/acc_norm"])
            for name, step, metrics in rows
            if name.endswith(run.key)
        ]
        assert kept == accuracies(finished, run.key)


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("tensorbord", None, "unknown tracker 'tensorbord'; did you mean 'tensorboard'"),
        ("wandb", "wandb", r"tracker wandb: not installed; `pip install 'portal-sweeps\[wandb\]'` brings it"),
        ("mlflow", None, "tracker mlflow: set MLFLOW_TRACKING_URI"),
    ],
)
def test_a_tracker_that_cannot_work_is_a_mistake_before_anything_runs(
    name: str,
    module: str | None,
    message: str,
    tiny_study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if module is not None:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=message):
        run_study(tiny_study, tmp_path, executor="local", console=silent(), trackers=[name])
    assert not (tmp_path / "runs").exists()


@pytest.mark.ray
def test_tune_tells_trackers_while_lanes_work(
    tiny_study: Study,
    tmp_path: Path,
    recorder: type[Recorder],
    ray_cluster: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster)
    monkeypatch.setattr("sweeps.run_feed.POLL_S", 0.0)
    closed: list[int] = []
    close = RunFeed.close
    monkeypatch.setattr(RunFeed, "close", lambda feed: (closed.append(len(recorder.told)), close(feed)))
    run_study(tiny_study, tmp_path, executor="plain", console=silent(), trackers=["recorder"])
    assert closed[0] > 0
    assert sorted(logged(recorder.told)) == sorted(expected(tiny_study))


def metrics_of(told: list[tuple]) -> dict[tuple[str, int], dict[str, float]]:
    return {(key, epoch): metrics for what, key, epoch, *rest in told if what == "log" for metrics in rest}


def accuracies(out: Path, key: str) -> list[tuple[int, float]]:
    """(epoch, task mean of acc_norm on test rows), from the run's own table."""
    by_epoch: dict[int, list[float]] = {}
    for row in read_table(Store(out).run_folder(key) / "results.parquet", RESULTS).to_pylist():
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
