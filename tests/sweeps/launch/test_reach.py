"""A task whose own training rows are not fitted is told; a few rows tell nothing."""

import math
from pathlib import Path

import pytest

from portal.artifacts.artifact import Artifact
from portal.bases.base import load_base
from portal.cli import main
from portal.data.sampling import calibration_rows
from portal.data.suites import open_suite
from portal.data.token_cache import read_cache
from portal.evaluate.loglikelihood import guess_left, score_rows
from portal.forward.adapter_hooks import adapted
from sweeps.launch import reach
from sweeps.launch.reach import REACH, TrainingFit, training_fits
from sweeps.launch.single_run import TrainRequest, finish_run, teach_run


@pytest.mark.parametrize(
    ("left", "within"), [(0.1, True), (REACH, True), (0.9, False), (1.4, False), (math.nan, False)]
)
def test_training_rows_that_leave_a_guess_are_out_of_reach(left: float, within: bool) -> None:
    assert TrainingFit("new", 16, left).within_reach is within


def test_the_fit_is_that_of_the_rows_that_were_trained_on(
    world: Path, new_tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, tasks = open_suite(None, ("totals",), data=str(new_tasks))
    request = TrainRequest(suite, tasks, examples=4, epochs=1, out=tmp_path)
    single = teach_run(world / "source" / "artifact" / "tiny-llama", "tiny-llama", request)
    finish_run(single, tmp_path)

    assert list(training_fits(single, tmp_path, device="cpu")) == []  # four rows tell nothing
    monkeypatch.setattr(reach, "MIN_ROWS", 4)
    (fit,) = training_fits(single, tmp_path, device="cpu")

    table = read_cache(next((tmp_path / "rows").iterdir()))
    base, artifact = load_base("tiny-llama"), Artifact.load(tmp_path / "artifact")
    rows = calibration_rows(table.rows("totals", "train"), 4, request.seed)
    with adapted(base, artifact.factors(("totals",)), artifact.config.adapter.scaling):
        expected = guess_left(score_rows(base, rows))
    assert (fit.task, fit.num_rows) == ("totals", 4)
    assert fit.left == pytest.approx(expected, rel=1e-6)


def test_the_command_warns_of_a_task_out_of_reach_and_of_no_other(
    world: Path,
    new_tasks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["teach", str(world / "source"), "--tasks", "totals", "--data", str(new_tasks), "--no-base"]
    command += ["--examples", "4", "--epochs", "1", "--on", "tiny-llama", "--out", str(tmp_path / "taught")]
    monkeypatch.setattr(reach, "MIN_ROWS", 4)

    monkeypatch.setattr(reach, "REACH", 0.0)
    assert main(command) == 0
    warned = capsys.readouterr().err
    monkeypatch.setattr(reach, "REACH", 10.0)
    assert main(command) == 0

    assert "totals: the core seems unable to express it: its own 4 training rows are not fitted" in warned
    assert "unable to express" not in capsys.readouterr().err
