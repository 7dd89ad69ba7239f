"""A reporter reports every epoch and end of every run once, whole, under its lease, whatever is refused."""

import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pytest

from portal.results import RESULTS, read_table, write_table
from sweeps.store.lease import LeaseLost, acquire
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from sweeps.tracking.reporter import Reporter, epoch_metrics, without_secrets
from sweeps.tracking.tracker import Tracker
from sweeps.worker.job import log_path
from tests.support.studies import PATIENCE_S


class Recorder(Tracker):
    """Keeps what it is told in memory; breaks at the log of that number, and refuses runs."""

    name, module, package = "recorder", "json", "python"

    def __init__(self) -> None:
        super().__init__("tiny", Path())
        self.told: list[tuple] = []
        self.break_at: int | None = None
        self.refused: set[str] = set()

    def open(self, key, name, config, known):
        self.told.append(("open", key, known))
        return f"id of {key}"

    def log(self, key, epoch, metrics):
        if key in self.refused:
            raise ValueError("refused")
        if len(self.logged) == self.break_at:
            raise ConnectionError("no route to host")
        self.told.append(("log", key, epoch, dict(metrics)))

    def end(self, key, *, failed):
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


def expected(study: Study) -> list[tuple[str, int]]:
    """Every (run, epoch) that the study evaluates."""
    return sorted(
        (run.key, epoch)
        for run in study.runs
        for epoch in (range(run.train.epochs + 1) if run.train is not None else [0])
    )


def test_every_epoch_and_end_is_reported_once_by_whichever_process(finished: Path, tiny_study: Study) -> None:
    recorder = Recorder()
    recorder.break_at = 4
    with pytest.raises(ConnectionError):
        Reporter(finished, tiny_study.manifest, recorder).report()
    reported_first = len(recorder.logged)
    recorder.break_at = None
    for _ in range(2):
        Reporter(finished, tiny_study.manifest, recorder).report()
    assert 0 < reported_first < len(expected(tiny_study))
    assert sorted(recorder.logged) == expected(tiny_study)
    assert sorted(recorder.ends) == sorted((run.key, False) for run in tiny_study.runs)


def test_metrics_are_task_means_each_task_and_costs(finished: Path, tiny_study: Study) -> None:
    recorder = Recorder()
    Reporter(finished, tiny_study.manifest, recorder).report()
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
    reporter = Reporter(finished, tiny_study.manifest, recorder)

    def add(number: int, task: str) -> list[int]:
        rows = table.filter((pc.field("epoch") == 1) & (pc.field("task") == task))
        write_table(rows, parts / f"{number:06d}.results.parquet")
        reporter.report()
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

    Reporter(finished, tiny_study.manifest, recorder).report()

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
        Reporter(finished, tiny_study.manifest, recorder).report()
    store.forget_failed([key])
    marker.write_bytes(content)
    Reporter(finished, tiny_study.manifest, recorder).report()
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
@pytest.mark.parametrize(("token", "word"), [("0" * 16, "end\n"), (None, "")])
def test_a_reporter_ends_with_its_driver_or_its_lease_and_reports_nothing(
    token: str | None, word: str, finished: Path, tiny_study: Study
) -> None:
    with acquire(finished) as lease:
        command = [
            sys.executable,
            "-m",
            "sweeps.tracking.reporter",
            str(finished),
            tiny_study.name,
            "tensorboard",
        ]
        done = subprocess.run(
            [*command, token or lease.token], input=word, text=True, timeout=PATIENCE_S, check=False
        )
    assert done.returncode == 0
    assert not (finished / "trackers").exists()


def test_runs_that_the_tracker_refuses_keep_no_other_from_it(finished: Path, tiny_study: Study) -> None:
    recorder = Recorder()
    recorder.refused = {run.key for run in tiny_study.runs if run.method != "portal"}
    with pytest.raises(ValueError, match="refused"):
        Reporter(finished, tiny_study.manifest, recorder).report()
    assert {key for key, _ in recorder.ends} == set(tiny_study.by_key) - recorder.refused


def test_nothing_is_reported_or_recorded_any_more_when_another_reporter_may_be_at_work(
    finished: Path, tiny_study: Study
) -> None:
    recorder = Recorder()

    def check_lease() -> None:
        if len(recorder.logged) >= 3:
            raise LeaseLost("gone")

    with pytest.raises(LeaseLost):
        Reporter(finished, tiny_study.manifest, recorder, check_lease).report()
    assert len(recorder.logged) == 3


def test_secrets_are_taken_out_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "abcdef123456")
    text = "no\n  answer from https://me:p@w@host/x with abcdef123456"
    assert without_secrets(text) == "no answer from https://host/x with $SOME_API_KEY"
