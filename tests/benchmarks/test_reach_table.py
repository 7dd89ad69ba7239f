"""The table of warnings: which are right, from a study's runs and their artifacts."""

import shutil
from pathlib import Path

import pytest

from analysis.stats.result_table import gather_runs
from benchmarks.reach_table import Taught, gather, render
from portal.artifacts.artifact import Artifact
from portal.bases.base import load_base
from portal.data.sampling import calibration_rows
from portal.data.token_cache import read_cache
from portal.evaluate.loglikelihood import guess_left, score_rows
from portal.forward.adapter_hooks import adapted
from portal.results import RESULTS, read_table
from sweeps.launch.driver import run_study
from sweeps.launch.single_run import TrainingFit
from sweeps.results.snapshot import collect_snapshot
from tests.support.studies import load_text, silent

TOY = """
name: toy
suite: village
tasks: [plays_01, room_10]
eval_size: 8
seeds: [0]
sources: [village-qwen3-xs]
targets: [village-qwen3-xs]
recipe: many-tasks
methods:
  base: {}
  lora: {size: 8, adapter: {modules: [q], rank: 1}, train: {rounds_per_epoch: 2}}
  source:
    size: 8
    tasks: [home_01, colour_02]
    adapter: {modules: [q], rank: 1}
    hypernet: {d_latent: 4, d_layer: 4, hidden: 8, d_core: 8}
    train: {rounds_per_epoch: 2}
  taught: {size: 8, curve: {sizes: [4]}, train: {rounds_per_epoch: 2}}
"""


def task(name: str, base: float, taught: float, lora: float, left: float, rows: int = 16) -> Taught:
    return Taught("taught", rows, 0, base, taught, lora, TrainingFit(name, rows, left))


def test_what_is_out_of_reach_is_decided_by_test_rows() -> None:
    for base, taught, lora, out in (
        (0.3, 0.4, 0.4, True),  # 10 points
        (0.3, 0.45, 0.7, True),  # 15 of 40 points
        (0.3, 0.55, 0.7, False),
        (0.3, 0.55, 0.2, False),  # a LoRA gains nothing
    ):
        assert task("t", base, taught, lora, 0.0).is_out_of_reach is out


def test_a_line_counts_warnings_and_those_that_are_right() -> None:
    found = [
        task("right", 0.3, 0.3, 0.9, left=0.9),
        task("wrong", 0.3, 0.9, 0.9, left=0.8),
        task("missed", 0.3, 0.3, 0.9, left=0.1),
        task("fine", 0.3, 0.9, 0.9, left=0.1),
        task("few", 0.3, 0.9, 0.9, left=0.1, rows=8),
    ]

    table = render(found)

    assert "| taught | 16 | 4 | 2 | 2 | 1 | 0.50 | 0.50 |" in table
    assert "| taught | 8 | 1 | 0 | 0 | 0 | - | - |" in table
    assert "- Warned of though within reach: `wrong` (taught, 16 rows, seed 0: 0.30 becomes 0.90" in table
    assert "- Out of reach, no warning: `missed`" in table


def test_fits_and_scores_are_those_of_the_studys_runs_and_without_a_lora_there_are_none(
    tmp_path: Path,
) -> None:
    study, out = load_text(tmp_path, TOY), tmp_path / "out"
    run_study(study, out, executor="local", console=silent())

    found = {item.fit.task: item for item in gather(study, out)}

    assert not (out / "results").exists()  # what it reads stays as it is
    assert set(found) == {"plays_01", "room_10"}  # none of four rows
    results = gather_runs(read_table(collect_snapshot(study.manifest, out) / "results.parquet", RESULTS))
    by_label = {
        run.cell.variant.name: run.scores["test"][max(run.scores["test"])]
        for run in results.runs
        if run.cell.size in (8, None)
    }
    item = found["room_10"]
    scores = [by_label[label]["room_10"].score for label in ("base", "taught", "lora")]
    assert [item.base, item.taught, item.lora] == scores
    (taught,) = (run for run in study.runs if study.labels[run.key] == "taught" and run.data.size == 8)
    base, artifact = load_base("village-qwen3-xs"), Artifact.load(out / "runs" / taught.key / "artifact")
    rows = calibration_rows(read_cache(next((out / "rows").iterdir())).rows("room_10", "train"), 8, 0)
    with adapted(base, artifact.factors(("room_10",)), artifact.config.adapter.scaling):
        assert item.fit.left == pytest.approx(guess_left(score_rows(base, rows)), rel=1e-6)

    for run in study.runs:
        if run.method == "lora":
            shutil.rmtree(out / "runs" / run.key)
    with pytest.raises(ValueError, match="no finished run of method 'lora' on village-qwen3-xs, seed 0"):
        list(gather(study, out))
