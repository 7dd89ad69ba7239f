"""Tasks that a source does not know: taught on one source base, carried to another base, and reported.

The study is `every-method.yaml`: its source knows three other tasks than the study has.
"""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from portal.artifacts.artifact import Artifact
from portal.cli import main
from portal.config import RunConfig
from portal.results import RESULTS, read_table
from sweeps.study.expand import load_study

pytestmark = pytest.mark.slow
KNOWN, NEW = ("comparison", "membership", "time_order"), ("counting", "fact_qa", "places")


@pytest.fixture
def runs(every_method: Path) -> dict[str, RunConfig]:
    """The runs of methods with one run, by label."""
    study = load_study("every-method.yaml")
    return {study.labels[run.key]: run for run in study.runs}


def artifact_of(run: str | RunConfig | None) -> Path:
    return Path("half", "runs", run.key if isinstance(run, RunConfig) else str(run), "artifact")


def test_a_carried_runs_adapters_are_what_the_port_exports_with_the_taught_latents(
    runs: dict[str, RunConfig],
) -> None:
    port, taught = map(artifact_of, runs["carried"].parent_keys)
    assert taught == artifact_of(runs["taught"])

    args = ["export", str(port), "--latents", str(taught), "--task", "counting"]
    assert main([*args, "--out", "exported"]) == 0

    wanted = load_file("exported/adapter_model.safetensors")
    found = load_file(artifact_of(runs["carried"]) / "counting" / "adapter_model.safetensors")
    assert wanted.keys() == found.keys()
    for name, values in wanted.items():  # products of one task and of several differ in the last bit
        np.testing.assert_allclose(found[name], values, atol=1e-7, rtol=1e-5)


def test_latents_are_taught_with_the_converter_of_the_teaching_base(runs: dict[str, RunConfig]) -> None:
    taught = Artifact.load(artifact_of(runs["taught"]))
    source = Artifact.load(artifact_of(runs["source"]) / "bases--qwen3")

    assert taught.config.tasks == (*KNOWN, *NEW)
    assert all((taught.tensors[name][: len(value)] == value).all() for name, value in source.tensors.items())


def test_rows_say_where_a_task_gave_some_and_the_report_is_about_the_new_tasks(
    runs: dict[str, RunConfig],
) -> None:
    assert main(["report", "half", "--out", "report"]) == 0

    rows = read_table(Path("half/results/results.parquet"), RESULTS).to_pylist()
    seen = {(row["label"], row["task"]): row["calibrated"] for row in rows}
    for label in ("taught", "carried", "mismatched_latent", "nearest_latent", "lora"):
        assert [seen[label, task] for task in NEW] == [True] * 3
    for label in ("mean_latent", "described"):
        assert [seen[label, task] for task in NEW] == [False] * 3
    assert {task for label, task in seen if label == "portal"} == {*KNOWN}
    tables = Path("report/tables.md").read_text()
    by_task = tables.split("score by task")[1].split("###")[0]
    assert "| counting |" in by_task
    assert "| comparison |" not in by_task
