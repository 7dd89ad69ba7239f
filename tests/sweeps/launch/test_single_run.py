"""One run without a study file has the config that the options stand for, and its keys are for ever.

What this machine cannot do is refused before anything is written; a task that is not fitted is told.
"""

import json
import math
from pathlib import Path

import pytest

from portal.artifacts.artifact import Artifact
from portal.bases.base import load_base
from portal.cli import main
from portal.data.sampling import calibration_rows
from portal.data.suites import open_suite
from portal.data.token_cache import read_cache
from portal.evaluate.code_sandbox import ALLOWED
from portal.evaluate.loglikelihood import guess_left, score_rows
from portal.forward.adapter_hooks import adapted
from sweeps.launch import single_run
from sweeps.launch.single_run import (
    REACH,
    SingleRun,
    TrainingFit,
    TrainRequest,
    finish_run,
    source_run,
    teach_run,
    training_fits,
)
from sweeps.study.expand import load_study
from tests.support.command_line import line_after


def request(**options: object) -> TrainRequest:
    suite, tasks = open_suite("mini", ["fact_qa", "counting"])
    return TrainRequest(suite, tasks, **options)  # type: ignore[arg-type]


def joint(**options: object) -> SingleRun:
    return source_run(("mini-qwen3-xs",), request(**options), modules=("q", "v"), rank=4)


def test_what_is_not_given_is_the_recipes() -> None:
    paper, other = joint().config, joint(recipe="portallib-0.2").config

    assert (paper.data.size, paper.train.epochs, paper.train.schedule) == (2000, 5, "constant")
    assert (other.train.epochs, other.train.rounds_per_epoch, other.train.schedule) == (12, 500, "linear")
    assert paper.train.evaluate == "last_epoch"
    assert (paper.adapter.rank, paper.adapter.alpha) == (4, 8)


def test_what_is_given_replaces_it() -> None:
    run = joint(examples=16, epochs=2, seed=7).config

    assert (run.data.size, run.train.epochs, run.seed) == (16, 2, 7)


def test_the_frozen_base_is_the_run_that_a_study_of_these_tasks_has(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: s\nsuite: mini\ntasks: [fact_qa, counting]\nseeds: [0]\n"
        "targets: [mini-qwen3-xs]\nmethods: {base: {}}\n"
    )
    (study_run,) = load_study(path).runs

    assert joint(examples=16).frozen_bases == (study_run,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "papre"}, "unknown recipe 'papre'; did you mean 'paper'?"),
        ({"examples": 0}, "data.size"),
        ({"epochs": 0}, "train.epochs"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_mistake_is_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        joint(**options)

    assert "\n" not in str(raised.value)


def test_a_rank_above_a_width_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 4000 is above the width"):
        source_run(("mini-qwen3-xs",), request(), modules=("q",), rank=4000)


def test_a_metric_that_cannot_be_computed_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(ALLOWED, raising=False)
    rows = [
        {"prompt": f"def f{number}():", "answer": " pass", "tests": f"f{number}()", "split": split}
        for number in range(4)
        for split in ("train", "test")
    ]
    (tmp_path / "code.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    command = [
        "train",
        "--source",
        "mini-qwen3-xs",
        "--tasks",
        str(tmp_path / "code.jsonl"),
        "--out",
        str(out),
    ]

    assert main(command) == 2

    assert f"set {ALLOWED}=1 to let it, in bubblewrap (on " in line_after("in other splits", capsys)
    assert not list(out.glob("runs/*"))


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
    monkeypatch.setattr(single_run, "MIN_ROWS", 4)
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
    monkeypatch.setattr(single_run, "MIN_ROWS", 4)

    monkeypatch.setattr(single_run, "REACH", 0.0)
    assert main(command) == 0
    warned = capsys.readouterr().err
    monkeypatch.setattr(single_run, "REACH", 10.0)
    assert main(command) == 0

    assert "totals: the core seems unable to express it: its own 4 training rows are not fitted" in warned
    assert "unable to express" not in capsys.readouterr().err
