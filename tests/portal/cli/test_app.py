"""The `portal` command, in this process: what it prints and what it leaves."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from portal.cli import main
from sweeps.launch.local_run import run_local
from sweeps.store.run_store import Store
from sweeps.study.expand import load_study
from tests.support.bases import TASKS
from tests.support.command_line import write_study


def test_params_prints_the_published_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)
    assert counts["core"] == 17_483_776
    assert counts["converter"]["qwen3-8b"] == 13_632_640
    assert {name: round(count / 1e6, 2) for name, count in counts["converter"].items()} == {
        "qwen3-1.7b": 7.34,
        "qwen3-4b": 10.49,
        "qwen3-8b": 13.63,
        "gemma-3-4b": 8.39,
    }


def test_the_version_and_the_help_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert main(["--help"]) == 0
    assert main([]) == 0

    assert "sweep" in capsys.readouterr().out


def test_tasks_counts_the_rows_of_a_folder(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--data", str(world / "data"), "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)["tasks"]
    assert counts == {task: {"train": 8, "validation": 8, "test": 8} for task in TASKS}


def test_eval_prints_json_of_the_documented_shape(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = "tiny-gemma3"
    command = ["eval", "--base", base, "--data", str(world / "data"), "--json"]

    assert main([*command, "--limit", "5"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert set(printed) >= {"base", "tasks", "macro"}
    assert printed["base"] == base
    assert set(printed["tasks"]) == set(TASKS)
    for scores in printed["tasks"].values():
        assert set(scores) == {"acc", "acc_norm", "log_loss", "num_examples"}
        assert scores["num_examples"] == 5
    for task, by_unit in printed["acc_norm_by_unit"].items():
        assert set(by_unit) == {"chars", "bytes", "tokens", "lm-eval"}
        assert by_unit["chars"] == printed["tasks"][task]["acc_norm"]
    mean = sum(scores["log_loss"] for scores in printed["tasks"].values()) / len(TASKS)
    assert printed["macro"]["log_loss"] == pytest.approx(mean)


def test_an_exported_adapter_scores_as_its_artifact_and_unlike_the_base(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact, adapter = str(world / "ported"), str(tmp_path / "adapter")
    command = ["eval", "--base", "tiny-gemma3", "--data", str(world / "data"), "--tasks", "sums"]

    assert main(["export", artifact, "--task", "sums", "--out", adapter, "--check"]) == 0
    capsys.readouterr()
    losses = []
    for extra in ([], ["--artifact", artifact], ["--adapter", adapter]):
        assert main([*command, *extra, "--json"]) == 0
        losses.append(json.loads(capsys.readouterr().out)["tasks"]["sums"]["log_loss"])

    assert losses[1] == pytest.approx(losses[2], abs=1e-5)
    assert abs(losses[1] - losses[0]) > 1e-3


def test_a_finished_port_is_not_trained_again(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (marker,) = (world / "ported" / "runs").glob("*/DONE.json")
    before = marker.stat().st_mtime_ns
    command = ["port", str(world / "source"), "--to", "tiny-gemma3", "--out", str(world / "ported")]
    arguments = ["--data", str(world / "data"), "--examples", "8", "--epochs", "1", "--seed", "3"]

    assert main([*command, *arguments]) == 0

    assert marker.stat().st_mtime_ns == before
    assert "artifact" in capsys.readouterr().out


def test_status_in_a_folder_where_the_study_never_ran_is_all_missing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(world, tmp_path)
    (tmp_path / "out").mkdir()

    assert main(["sweep", "status", study, "--out", str(tmp_path / "out"), "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)
    assert counts == {"total": 3, "done": 0, "running": 0, "failed": 0, "missing": 3}


def test_plan_prints_every_missing_run(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(world, tmp_path)

    assert main(["sweep", "plan", study, "--out", str(tmp_path / "out"), "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["missing"] == 3


def test_a_finished_study_is_not_run_again_and_ends_in_tables_and_a_report(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    loaded = load_study(study)
    runs = loaded.runs
    for method in ("base", "lora"):
        run_local([run for run in runs if run.method == method], loaded.suite, out, Console(quiet=True))

    assert main(["sweep", "run", study, "--out", str(out), "--json"]) == 0
    ended = json.loads(capsys.readouterr().out)
    assert main(["report", str(out)]) == 0

    assert (ended["total"], ended["done"], ended["trained"]) == (3, 3, 0)
    assert pq.read_table(out / "results" / "results.parquet").num_rows > 0
    assert (out / "results" / "predictions.parquet").is_file()
    page = out / "report" / "index.html"
    assert str(page) in capsys.readouterr().out
    assert "PorTAL: small" in page.read_text()
    assert (out / "report" / "tables.md").is_file()


def test_tables_of_fewer_runs_than_are_done_are_collected_anew(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    loaded = load_study(study)
    runs = loaded.runs
    run_local([run for run in runs if run.method == "base"], loaded.suite, out, Console(quiet=True))
    assert main(["sweep", "collect", study, "--out", str(out)]) == 0
    run_local([run for run in runs if run.method == "lora"], loaded.suite, out, Console(quiet=True))
    results = out / "results" / "results.parquet"
    before = set(pq.read_table(results)["run"].to_pylist())

    assert main(["sweep", "run", study, "--out", str(out)]) == 0
    after = set(pq.read_table(results)["run"].to_pylist())
    written = results.stat().st_mtime_ns
    assert main(["sweep", "run", study, "--out", str(out)]) == 0

    assert len(before) == 1
    assert after == {run.key for run in runs}
    assert results.stat().st_mtime_ns == written


def test_runs_that_failed_are_listed_with_cause_and_log(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    store = Store(out)
    for run in load_study(study).runs:
        store.mark_failed(run.key, "the loss of task 'sums' is nan", store.log_path(0))

    code = main(["sweep", "run", study, "--out", str(out)])

    assert code == 3
    printed = capsys.readouterr().err
    assert "3 of 3 runs" in printed
    assert printed.count("the loss of task 'sums' is nan") == 3
    assert printed.count("lane-0.log") == 3
