"""Controls that nothing trains: a port with the mean latent, and latents carried to a port."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import read_peft_factors
from portal.learners.base import Learner, Start, build_learner
from tests.support.bases import TASKS, make_rows, make_run
from tests.support.packs import Tiny

CALIBRATED = TASKS[:2]
OLD, NEW = ("colours",), ("names", "sums")
MEAN = make_run("mean_latent", "target", data={"calibrated": CALIBRATED})


@pytest.fixture(scope="module")
def ported(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Runs start from a port that is calibrated on two of three tasks."""
    folder = tmp_path_factory.mktemp("port")
    tiny.saved(make_run("portal", "target", data={"calibrated": CALIBRATED}), folder)
    return replace(tiny, source=folder)


def test_every_slot_has_what_the_port_makes_of_the_mean_of_its_calibrated_latents(ported: Tiny) -> None:
    port = Artifact.load(ported.source)
    _, core = port.frozen_core((), port.config.adapter, port.config.hypernet)
    mean = (port.latents[TASKS[0]] + port.latents[TASKS[1]]) / 2

    with torch.no_grad():
        expected = port.converter()(core, mean.expand(len(TASKS), -1))

    found = ported.learner(MEAN).factors("target")
    torch.testing.assert_close([*found.values()], [*expected.values()], rtol=0, atol=1e-6)


def test_it_is_scored_once_and_marks_the_tasks_without_a_row_like_its_port(
    ported: Tiny, tmp_path: Path
) -> None:
    end = ported.ended(MEAN)
    end.learner.save_artifact(tmp_path, RunRecord.of(MEAN))

    assert {(row["epoch"], row["trained_params"]) for row in end.rows} == {(0, None)}
    marks = {(row["task"], row["calibrated"]) for row in end.rows}
    assert marks == {(task, task in CALIBRATED) for task in TASKS}
    first, *others = (read_peft_factors(tmp_path / task, torch.device("cpu")) for task in TASKS)
    for written in others:
        torch.testing.assert_close(written, first, rtol=0, atol=0)
    with pytest.raises(ValueError, match="made for base 'target'"):
        ported.learner(make_run("mean_latent", "small"))


@pytest.fixture(scope="module")
def start(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """A port of a source of the old task, and new tasks taught to the same source."""
    folder = tmp_path_factory.mktemp("artifacts")
    tiny.saved(make_run("source", "small", data={"tasks": OLD}), folder / "source")
    from_source = replace(tiny, source=folder / "source" / "small")
    from_source.saved(make_run("portal", "target", data={"tasks": OLD}), folder / "port")
    from_source.saved(make_run("taught", "small", data={"tasks": NEW}), folder / "taught")
    return Start(folder / "port", latents=folder / "taught")


def carried(method: str, tiny: Tiny, start: Start, tasks: tuple[str, ...] = NEW) -> Learner:
    run = make_run(method, "target", data={"tasks": tasks})
    return build_learner(run, tiny.bases, {"target": make_rows(tiny.bases["target"])}, start=start)


def test_a_carried_task_has_the_ports_factors_of_its_taught_latent_and_leaves_an_adapter(
    tiny: Tiny, start: Start, tmp_path: Path
) -> None:
    port, taught = Artifact.load(start.folder), Artifact.load(start.latents)
    _, core = port.frozen_core((), port.config.adapter, port.config.hypernet)
    with torch.no_grad():
        wanted = port.converter()(core, torch.stack([taught.latents[task] for task in NEW]))

    learner = carried("carried", tiny, start)
    learner.save_artifact(tmp_path, RunRecord.of(learner.run))

    assert learner.factors("target").keys() == wanted.keys()
    for group, pair in wanted.items():
        assert all(map(torch.equal, learner.factors("target")[group], pair))
    assert sorted(path.parent.name for path in tmp_path.glob("*/adapter_config.json")) == sorted(NEW)


def test_a_mismatched_task_has_the_factors_of_the_next_one(tiny: Tiny, start: Start) -> None:
    own = carried("carried", tiny, start).factors("target")
    exchanged = carried("mismatched_latent", tiny, start).factors("target")

    for group, (a, b) in own.items():  # a row's place in a product can change its last bit
        torch.testing.assert_close(exchanged[group], (a.flip(0), b.flip(0)), atol=1e-7, rtol=0)
        assert (b[0] - b[1]).abs().max() > 1e-6
    with pytest.raises(ValueError, match="the run has one task"):
        carried("mismatched_latent", tiny, start, tasks=("sums",))
