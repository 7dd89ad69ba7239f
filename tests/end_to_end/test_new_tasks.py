"""A study of tasks that its source does not know: taught on one source base, carried to another base."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from portal.artifacts.artifact import Artifact
from portal.cli import main
from portal.config import RunConfig
from portal.results import RESULTS, read_table
from sweeps.study.expand import Study, load_study

STUDY = """
name: new-tasks
suite: mini
tasks: [counting, pronoun]
eval_size: 4
seeds: [0]
sources: [mini-qwen3-xs, mini-qwen3-s]
targets: [mini-qwen3-s, mini-gemma3]
methods:
  base: {}
  lora: {size: 8, train: {epochs: 1}, adapter: {rank: 2}}
  source:
    tasks: [fact_qa, comparison]
    size: 8
    adapter: {rank: 2}
    hypernet: {d_latent: 8, d_layer: 8, hidden: 16, d_core: 16}
    train: {epochs: 1}
  portal: {targets: [mini-gemma3], size: 4, train: {epochs: 1}}
  taught: {targets: [mini-qwen3-s], size: 4, curve: {sizes: [2]}, train: {epochs: 1, rounds_per_epoch: 3}}
  nearest_latent: {targets: [mini-qwen3-s], size: 4}
  carried: {targets: [mini-gemma3], latents: taught, curve: {sizes: [2]}}
  mismatched_latent: {targets: [mini-gemma3], latents: taught}
  nearest: {method: carried, targets: [mini-gemma3], latents: nearest_latent}
  mean_latent: {targets: [mini-gemma3]}
  shared_lora: {tasks: [fact_qa, comparison], targets: [mini-gemma3], size: 4, train: {epochs: 1}}
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "new-tasks.yaml"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def out(study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished study."""
    folder = tmp_path_factory.mktemp("out")
    assert main(["sweep", "run", str(study_path), "--out", str(folder), "--executor", "local"]) == 0
    return folder


@pytest.fixture(scope="module")
def study(study_path: Path) -> Study:
    return load_study(study_path)


def run_of(study: Study, label: str, size: int | None = None) -> RunConfig:
    (found,) = (
        run
        for run in study.runs
        if study.labels[run.key] == label and (size is None or run.data.size == size)
    )
    return found


def test_a_carried_runs_adapters_are_what_the_port_exports_with_the_taught_latents(
    out: Path, study: Study, tmp_path: Path
) -> None:
    for size in (2, 4):
        run = run_of(study, "carried", size)
        port, taught = (out / "runs" / key / "artifact" for key in run.parent_keys)

        args = ["export", str(port), "--latents", str(taught), "--task", "pronoun"]
        assert main([*args, "--out", str(tmp_path / f"{size}")]) == 0

        wanted = load_file(tmp_path / f"{size}" / "adapter_model.safetensors")
        found = load_file(out / "runs" / run.key / "artifact" / "pronoun" / "adapter_model.safetensors")
        assert wanted.keys() == found.keys()
        for name, values in wanted.items():  # products of one task and of several differ in the last bit
            np.testing.assert_allclose(found[name], values, atol=1e-7, rtol=1e-5)


def test_latents_are_taught_with_the_converter_of_the_teaching_base(out: Path, study: Study) -> None:
    taught = Artifact.load(out / "runs" / run_of(study, "taught", 4).key / "artifact")
    source = out / "runs" / run_of(study, "source").key / "artifact" / "mini-qwen3-s"

    assert taught.config.tasks == ("fact_qa", "comparison", "counting", "pronoun")
    before = Artifact.load(source).tensors
    assert all((taught.tensors[name][: len(value)] == value).all() for name, value in before.items())


def test_rows_say_where_a_task_gave_some_and_the_report_is_about_the_new_tasks(
    out: Path, study: Study, tmp_path: Path
) -> None:
    assert main(["report", str(out), "--out", str(tmp_path)]) == 0

    rows = read_table(out / "results" / "results.parquet", RESULTS).to_pylist()
    seen = {(row["label"], row["task"]): row["calibrated"] for row in rows}
    for label in ("taught", "carried", "mismatched_latent", "nearest", "lora"):
        assert (seen[label, "counting"], seen[label, "pronoun"]) == (True, True)
    for label in ("mean_latent", "shared_lora"):
        assert (seen[label, "counting"], seen[label, "pronoun"]) == (False, False)
    assert {task for label, task in seen if label == "portal"} == {"fact_qa", "comparison"}
    tables = (tmp_path / "tables.md").read_text()
    assert (
        "no port on this base has results"
        not in tables.split("## mini-gemma3")[1].split("## mini-qwen3-s")[0]
    )
    by_task = tables.split("acc_norm by task")[1].split("###")[0]
    assert "| counting |" in by_task
    assert "| fact_qa |" not in by_task
