"""Latents taught on one base, carried to another by its port: which factors every task gets."""

from pathlib import Path

import pytest
import torch

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base
from portal.config import RunConfig
from portal.learners.base import Learner, Start
from portal.learners.factory import build_learner
from tests.support.bases import make_base, make_rows, make_run
from tests.support.packs import make_pack, run_to_end

OLD, NEW = ("colours",), ("names", "sums")


@pytest.fixture(scope="module")
def bases() -> dict[str, Base]:
    return {
        "small": make_base("small", "qwen3", hidden=24, layers=3, seed=1),
        "other": make_base("other", "gemma3", hidden=16, layers=2, seed=2),
    }


@pytest.fixture(scope="module")
def start(bases: dict[str, Base], tmp_path_factory: pytest.TempPathFactory) -> Start:
    """A port of a source of the old task, and new tasks taught to the same source."""
    folder = tmp_path_factory.mktemp("artifacts")
    runs = {
        "source": make_run("source", "small", data={"tasks": OLD}),
        "port": make_run("portal", "other", data={"tasks": OLD}),
        "taught": make_run("taught", "small", data={"tasks": NEW}),
    }
    for name, run in runs.items():
        pack = make_pack(bases, [run], None if name == "source" else folder / "source" / "small")
        run_to_end(pack)
        pack.learners[0].save_artifact(folder / name, RunRecord.of(run))
    return Start(folder / "port", latents=folder / "taught")


def carried(method: str, bases: dict[str, Base], start: Start, tasks: tuple[str, ...] = NEW) -> Learner:
    run: RunConfig = make_run(method, "other", data={"tasks": tasks})
    return build_learner(run, bases, {"other": make_rows(bases["other"])}, start=start)


def test_a_carried_task_has_the_ports_factors_of_its_taught_latent(
    bases: dict[str, Base], start: Start
) -> None:
    assert start.latents is not None
    port, taught = Artifact.load(start.folder), Artifact.load(start.latents)
    _, core = port.frozen_core((), port.config.adapter, port.config.hypernet)
    with torch.no_grad():
        wanted = port.converter()(core, torch.stack([taught.latents[task] for task in NEW]))

    found = carried("carried", bases, start).factors("other")

    for group, pair in wanted.items():
        for mine, theirs in zip(found[group], pair, strict=True):
            assert torch.equal(mine, theirs)


def test_a_mismatched_task_has_the_factors_of_the_next_one(bases: dict[str, Base], start: Start) -> None:
    own = carried("carried", bases, start).factors("other")
    exchanged = carried("mismatched_latent", bases, start).factors("other")

    for group, (a, b) in own.items():  # a row's place in a product can change its last bit
        torch.testing.assert_close(exchanged[group][0], a.flip(0), atol=1e-7, rtol=0)
        torch.testing.assert_close(exchanged[group][1], b.flip(0), atol=1e-7, rtol=0)
        assert (b[0] - b[1]).abs().max() > 1e-6


def test_one_task_has_no_other_latent(bases: dict[str, Base], start: Start) -> None:
    with pytest.raises(ValueError, match="the run has one task"):
        carried("mismatched_latent", bases, start, tasks=("sums",))


def test_latents_of_another_core_are_refused(bases: dict[str, Base], start: Start, tmp_path: Path) -> None:
    run = make_run("source", "small", seed=5, data={"tasks": NEW})
    pack = make_pack(bases, [run], None)
    pack.learners[0].save_artifact(tmp_path, RunRecord.of(run))

    with pytest.raises(ValueError, match="its latents are for the core"):
        carried("carried", bases, Start(start.folder, latents=tmp_path / "small"))


def test_every_task_leaves_an_adapter(bases: dict[str, Base], start: Start, tmp_path: Path) -> None:
    learner = carried("carried", bases, start)

    learner.save_artifact(tmp_path, RunRecord.of(learner.run))

    assert sorted(path.parent.name for path in tmp_path.glob("*/adapter_config.json")) == sorted(NEW)
