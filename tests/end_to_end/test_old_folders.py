"""What commit ea55e6a wrote (tests/fixtures) is read, resumed, collected, reported and exported."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_files import RECORD, core_sha256, read_record
from portal.bases.base import load_base
from portal.cli import main
from portal.config import RunConfig
from portal.evaluate.tasks import check_adapter
from portal.results import GENERATIONS, LATENTS, PREDICTIONS, RESULTS, read_table
from portal.storage.paths import file_sha256
from sweeps.launch.driver import run_study
from sweeps.results.snapshot import collect
from sweeps.store.fsck import check_folder
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study, load_study
from sweeps.study.manifest import read_manifest
from tests.support.rounding import rounding_digest
from tests.support.studies import assert_same, silent, tables_of

COMMIT = "ea55e6aa1236c0a6b882980b2feb3a48d58e24d3"
ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
FIXTURE = FIXTURES / "ea55e6a"
PINNED = {
    name: json.loads((FIXTURES / "keys" / f"{name}.json").read_text()) for name in ("demo-eleven", "real-cpu")
}
SOURCE = "dee880c96ae2ab97"
"""A source on mini-qwen3-xs of the study `compatibility`."""
TABLES = {
    "results.parquet": RESULTS,
    "predictions.parquet": PREDICTIONS,
    "generations.parquet": GENERATIONS,
    "latents.parquet": LATENTS,
}
METHODS = {
    *("base", "lora", "shared_lora", "hypernet", "source", "portal", "taught", "nearest_latent", "described"),
    *("mismatched_description", "mean_latent", "carried", "mismatched_latent", "cross_lora", "copy_lora"),
    *("random_lora", "zero_lora"),
}
RETIRED = {"base_residual", "residual_rank", "peft", "upgrad", "pcgrad", "aligned_mtl", "imtl_g"}
"""Methods and settings that a later version refuses by their names."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the fixture, which is the working directory."""
    copy = Path(shutil.copytree(FIXTURE / "folder", tmp_path / "folder"))
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def study(folder: Path) -> Study:
    return load_study("every-method.yaml")


def records(out: Path) -> dict[str, dict[str, Any]]:
    """The recorded configs of all runs in an output folder by their keys."""
    return {path.parent.name: json.loads(path.read_bytes())["config"] for path in out.glob("runs/*/run.json")}


def retired_in(folder: Path, key: str) -> set[str]:
    """What of RETIRED the run uses."""
    config: dict[str, Any] = records(folder / "retired")[key]
    rank = {"residual_rank"} if config["train"]["residual_rank"] else set()
    return {config["method"], config["train"]["engine"], config["train"]["task_gradients"], *rank}


def check_rounding(folder: Path) -> None:
    """Skip the rest of a test on a machine with which no number can be compared to the last bit."""
    rounding = f"torch {torch.__version__} {rounding_digest(folder / 'bases/qwen3')}"
    if rounding != (folder / "expected" / "rounding.txt").read_text().strip():
        pytest.skip("this machine or version of torch rounds otherwise than the one of the fixture")


@pytest.mark.parametrize("name", PINNED)
def test_a_recorded_config_still_has_its_key(name: str) -> None:
    assert [RunConfig.model_validate(config).key for config in PINNED[name].values()] == [*PINNED[name]]


def test_the_eleven_tasks_of_mini_still_stand_for_the_same_runs() -> None:
    assert {run.key for run in load_study("demo-eleven").runs} == set(PINNED["demo-eleven"])


def test_a_record_of_every_method_is_read_and_has_its_key(folder: Path, study: Study) -> None:
    for out in (folder / "finished", folder / "half"):
        runs = {key: RunStore(out).read_run(key) for key in records(out)}

        assert {run.method for run in runs.values()} == METHODS
        assert runs == study.by_key
        assert {run.key for run in read_manifest(out).runs} == set(runs)


def test_a_run_keeps_its_key_or_is_refused_by_the_name_of_what_was_retired(folder: Path) -> None:
    refused = {}
    for key, config in records(folder / "retired").items():
        try:
            found = RunConfig.model_validate(config).key
        except ValueError as error:
            refused[key] = str(error)
        else:
            assert found == key

    for key, message in refused.items():
        assert any(name in message for name in RETIRED & retired_in(folder, key)), message
    assert len(records(folder / "retired")) - len(refused) >= 1


@pytest.mark.slow
def test_a_finished_study_is_counted_collected_reported_and_without_fault(
    folder: Path, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {name: read_table(folder / "finished/results" / name, schema) for name, schema in TABLES.items()}
    arguments = ["every-method.yaml", "--out", "finished"]

    assert main(["sweep", "status", *arguments, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert main(["sweep", "collect", *arguments]) == 0
    assert main(["report", "finished"]) == 0

    assert (status["done"], status["total"]) == (len(study.runs), len(study.runs))
    assert (folder / "finished" / "report" / "index.html").is_file()
    assert check_folder(folder / "finished")[0] == []
    for name, schema in TABLES.items():
        assert read_table(folder / "finished/results" / name, schema).equals(kept[name]), name


@pytest.mark.slow
def test_half_trained_packs_of_every_method_go_on_to_the_numbers_of_an_unbroken_launch(
    every_method: Path,
) -> None:
    study = load_study("every-method.yaml")

    check_rounding(every_method)
    assert_same(tables_of(study, every_method / "half"), tables_of(study, every_method / "finished"))


@pytest.mark.slow
def test_ports_with_a_kept_evaluation_go_on_to_what_they_leave_without_a_break(folder: Path) -> None:
    torch.set_num_threads(1)
    study, out = load_study("compatibility.yaml"), folder / "interrupted"
    assert check_folder(out)[0] == []

    outcome = run_study(study, out, executor="local", console=silent())

    assert (outcome.is_done, outcome.done, outcome.trained) == (True, 13, 4)
    check_rounding(folder)
    found, expected = (
        read_table(place / "results.parquet", RESULTS).drop_columns(["wall_s"])
        for place in (collect(study.manifest, out), folder / "ports")
    )
    assert found.equals(expected)
    for port in (run.key for run in study.runs if run.method == "portal"):
        ours, theirs = (
            load_file(place / "model.safetensors")
            for place in (out / "runs" / port / "artifact", folder / "ports" / port)
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_tables_without_their_runs_are_reported(folder: Path) -> None:
    shutil.copytree(folder / "interrupted" / "results", folder / "alone" / "results")

    assert main(["report", "alone"]) == 0
    assert "4 missing" in (folder / "alone" / "report" / "index.html").read_text()


def test_a_registry_has_its_scores_and_adapters(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["registry", "registry", "--json"]) == 0
    cores = json.loads(capsys.readouterr().out)["cores"]
    (own,) = [core for core in cores if core["artifacts"][0]["lineage"]["run"] == SOURCE]
    adapters = ["adapters", "--registry", "registry", "--for", "mini-qwen3-xs", "--tasks", "counting"]

    assert main([*adapters, "--core", own["core_sha256"], "--out", "adapters"]) == 0

    rows = read_table(folder / "interrupted/runs" / SOURCE / "results.parquet", RESULTS).to_pylist()
    scores = {row["task"]: row["score"] for row in rows if row["kept"] and row["split"] == "test"}
    assert {each["task"]: each["score"]["score"] for each in own["adapters"]} == scores
    check_adapter(load_base("mini-qwen3-xs"), folder / "adapters" / "mini-qwen3-xs" / "counting")


def test_an_artifact_without_a_record_is_ported_and_named_by_its_weights_and_run(folder: Path) -> None:
    run = folder / "interrupted" / "runs" / SOURCE
    source = run / "artifact" / "mini-qwen3-xs"
    (source / RECORD).unlink()
    RunStore(folder / "interrupted").mark_done(SOURCE)
    command = ["port", str(source), "--to", "mini-qwen3-s", "--tasks", "counting", "--examples", "4"]

    assert main([*command, "--epochs", "1", "--out", "ported"]) == 0

    assert read_record(source) is None
    record = read_record(folder / "ported" / "artifact")
    assert record is not None
    assert record.lineage.source is not None
    assert record.lineage.source.run == SOURCE
    assert record.lineage.source.weights_sha256 == file_sha256(source / "model.safetensors")
    assert record.core_sha256 == core_sha256(Artifact.load(source).tensors)


@pytest.mark.slow
def test_an_artifact_exports_the_same_adapter_and_is_ported(folder: Path) -> None:
    study = read_manifest(folder / "finished")
    key = next(key for key, label in study.labels.items() if label == "source-equalised")
    artifact = f"finished/runs/{key}/artifact/bases--qwen3"
    name = "adapter_model.safetensors"

    Artifact.load(folder / artifact).export_peft("counting", folder / "adapter")
    command = ["port", artifact, "--to", "bases/gemma3", "--tasks", "counting", "--examples", "4"]

    check_adapter(load_base("bases/qwen3"), folder / "expected" / "adapter")
    found, expected = load_file(folder / "adapter" / name), load_file(folder / "expected/adapter" / name)
    assert found.keys() == expected.keys()
    for tensor, value in expected.items():
        torch.testing.assert_close(found[tensor], value, rtol=0, atol=1e-6)
    assert main([*command, "--epochs", "1", "--out", "ported"]) == 0
    assert (folder / "ported" / "artifact" / "config.json").is_file()


@pytest.mark.nightly
def test_a_study_that_ea55e6a_trained_half_ends_as_the_one_that_it_trained_whole(tmp_path: Path) -> None:
    """On this machine to the last bit; the tests above compare with another machine's numbers."""
    if subprocess.run(["git", "cat-file", "-e", COMMIT], cwd=ROOT, check=False).returncode:
        pytest.skip(f"commit {COMMIT[:7]} is not in this clone")
    tree, written = tmp_path / "tree", tmp_path / "written"
    subprocess.run(["git", "worktree", "add", "--detach", str(tree), COMMIT], cwd=ROOT, check=True)
    try:
        written.mkdir()
        command = [sys.executable, str(FIXTURE / "write.py"), str(written)]
        subprocess.run(command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, check=True)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(written)
        study = load_study("every-method.yaml")

        outcome = run_study(study, Path("half"), executor="local", console=silent())

        assert outcome.is_done
        assert_same(tables_of(study, Path("half")), tables_of(study, Path("finished")))
