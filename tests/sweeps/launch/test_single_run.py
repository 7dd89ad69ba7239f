"""One run without a study file has the config that the options stand for, and its keys are for ever."""

from pathlib import Path

import pytest

from portal.data.suites import open_suite
from sweeps.launch.single_run import SingleRun, TrainRequest, source_run
from sweeps.study.expand import load_study


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
