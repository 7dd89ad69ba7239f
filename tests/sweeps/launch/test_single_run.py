"""One run without a study file has the config that the options stand for, and its keys are for ever.

What this machine cannot do is refused before anything is written; a task that is not fitted is told.
"""

import json
import math
from pathlib import Path

import pytest

from portal.artifacts.artifact import Artifact
from portal.bases.base import load_base
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
    source_run,
    teach_run,
    training_fits,
)
from tests.support.command_line import Portal
from tests.support.studies import load_text


def request(**options: object) -> TrainRequest:
    suite, tasks = open_suite("mini", ["fact_qa", "counting"])
    return TrainRequest(suite, tasks, **options)  # type: ignore[arg-type]


def joint(*, rank: int = 4, **options: object) -> SingleRun:
    return source_run(("mini-qwen3-xs",), request(**options), modules=("q", "v"), rank=rank)


def test_what_is_given_replaces_what_the_recipe_says() -> None:
    paper, other = joint().config, joint(recipe="portallib-0.2").config
    given = joint(examples=16, epochs=2, seed=7).config

    assert (paper.data.size, paper.train.epochs, paper.train.schedule) == (2000, 5, "constant")
    assert (other.train.epochs, other.train.rounds_per_epoch, other.train.schedule) == (12, 500, "linear")
    assert paper.train.evaluate == "last_epoch"
    assert (paper.adapter.rank, paper.adapter.alpha) == (4, 8)
    assert (given.data.size, given.train.epochs, given.seed) == (16, 2, 7)


def test_the_frozen_base_is_the_run_that_a_study_of_these_tasks_has(tmp_path: Path) -> None:
    text = (
        "name: s\nsuite: mini\ntasks: [fact_qa, counting]\nseeds: [0]\n"
        "targets: [mini-qwen3-xs]\nmethods: {base: {}}\n"
    )
    (study_run,) = load_text(tmp_path, text).runs

    assert joint(examples=16).frozen_bases == (study_run,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "papre"}, "unknown recipe 'papre'; did you mean 'paper'?"),
        ({"examples": 0}, "data.size"),
        ({"epochs": 0}, "train.epochs"),
        ({"seed": -1}, "seed"),
        ({"rank": 4000}, "rank 4000 is above the width"),
    ],
)
def test_a_mistake_is_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        joint(**options)

    assert "\n" not in str(raised.value)


def test_a_metric_that_cannot_be_computed_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portal: Portal
) -> None:
    monkeypatch.delenv(ALLOWED, raising=False)
    rows = [
        {"prompt": f"def f{number}():", "answer": " pass", "tests": f"f{number}()", "split": split}
        for number in range(4)
        for split in ("train", "test")
    ]
    (tmp_path / "code.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    told = portal("train --source mini-qwen3-xs --tasks code.jsonl --out out", code=2).err

    warned, refused = told.splitlines()
    assert "in other splits" in warned
    assert f"set {ALLOWED}=1 to let it, in bubblewrap (on " in refused
    assert not list((tmp_path / "out").glob("runs/*"))


def test_training_rows_that_leave_a_guess_are_out_of_reach() -> None:
    within = [TrainingFit("new", 16, left).within_reach for left in (0.1, REACH, 0.9, 1.4, math.nan)]

    assert within == [True, True, False, False, False]


def test_the_fit_is_that_of_the_rows_that_were_trained_on_and_a_task_out_of_reach_is_warned_of_and_no_other(
    world: Path, new_tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portal: Portal
) -> None:
    command = f"teach '{world / 'source'}' --tasks totals --data data --no-base --examples 4 --epochs 1"
    out, told = tmp_path / "taught", []
    monkeypatch.setattr(single_run, "MIN_ROWS", 4)
    for reach in (0.0, 10.0):
        monkeypatch.setattr(single_run, "REACH", reach)
        told.append(portal(f"{command} --on tiny-llama --out taught").err)
    suite, tasks = open_suite(None, ("totals",), data=str(new_tasks))
    request = TrainRequest(suite, tasks, examples=4, epochs=1, out=out)
    single = teach_run(world / "source" / "artifact" / "tiny-llama", "tiny-llama", request)
    (fit,) = training_fits(single, out, device="cpu")

    warning = "totals: the core seems unable to express it: its own 4 training rows are not fitted"
    assert warning in told[0]
    assert "unable to express" not in told[1]
    table = read_cache(next((out / "rows").iterdir()))
    base, artifact = load_base("tiny-llama"), Artifact.load(out / "artifact")
    rows = calibration_rows(table.rows("totals", "train"), 4, request.seed)
    with adapted(base, artifact.factors(("totals",)), artifact.config.adapter.scaling):
        expected = guess_left(score_rows(base, rows))
    assert (fit.task, fit.num_rows) == ("totals", 4)
    assert fit.left == pytest.approx(expected, rel=1e-6)
    monkeypatch.setattr(single_run, "MIN_ROWS", 5)
    assert list(training_fits(single, out, device="cpu")) == []  # four rows tell nothing
