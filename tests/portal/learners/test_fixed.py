"""Controls that nothing trains: a port with the mean latent, and latents carried to a port."""

from pathlib import Path

import pytest
import torch

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import read_peft_factors
from portal.bases.base import Base
from portal.config import RunConfig
from portal.hypernet import Converter, CoreDecoder
from portal.learners.base import Learner, Start, build_learner
from portal.storage.checkpoint import below
from tests.support.bases import TASKS, make_rows, make_run
from tests.support.packs import make_pack, run_to_end, save_trained

CALIBRATED = TASKS[:2]


@pytest.fixture(scope="module")
def port(bases: dict[str, Base], source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A port that is calibrated on two of three tasks."""
    folder = tmp_path_factory.mktemp("port")
    run = make_run("portal", "target", data={"calibrated": CALIBRATED})
    return save_trained(bases, run, source, folder)


def test_every_slot_has_what_the_port_makes_of_the_mean_of_its_calibrated_latents(
    bases: dict[str, Base], port: Path
) -> None:
    run = make_run("mean_latent", "target", data={"calibrated": CALIBRATED})
    (learner,) = make_pack(bases, [run], port).learners
    artifact = Artifact.load(port)
    core = CoreDecoder(artifact.config.hypernet, artifact.config.adapter, torch.Generator())
    core.load_state_dict(below(artifact.tensors, "core."))
    converter: Converter = artifact.config.converter()
    converter.load_state_dict(below(artifact.tensors, "alignment."))
    mean = (artifact.latents[TASKS[0]] + artifact.latents[TASKS[1]]) / 2

    with torch.no_grad():
        expected = converter(core, mean[None])

    for (a, b), (own_a, own_b) in zip(expected.values(), learner.factors("target").values(), strict=True):
        assert len(own_a) == len(own_b) == len(TASKS)
        for found, wanted in ((own_a, a), (own_b, b)):
            for slot in found:
                torch.testing.assert_close(slot, wanted[0], rtol=0, atol=1e-6)


def test_it_is_scored_once_and_marks_the_tasks_without_a_row_like_its_port(
    bases: dict[str, Base], port: Path, tmp_path: Path
) -> None:
    run = make_run("mean_latent", "target", data={"calibrated": CALIBRATED})
    pack = make_pack(bases, [run], port)

    rows = run_to_end(pack)[run.key]
    pack.learners[0].save_artifact(tmp_path, RunRecord.of(run))

    assert {row["epoch"] for row in rows} == {0}
    assert {row["trained_params"] for row in rows} == {None}
    assert {(row["task"], row["calibrated"]) for row in rows} == {
        (task, task in CALIBRATED) for task in TASKS
    }
    written = [read_peft_factors(tmp_path / task, torch.device("cpu")) for task in TASKS]
    assert all(torch.equal(each[place][0], written[0][place][0]) for each in written for place in each)


def test_a_port_to_another_base_is_refused(bases: dict[str, Base], port: Path) -> None:
    with pytest.raises(ValueError, match="made for base 'target'"):
        make_pack(bases, [make_run("mean_latent", "small")], port)


OLD, NEW = ("colours",), ("names", "sums")


@pytest.fixture(scope="module")
def start(bases: dict[str, Base], tmp_path_factory: pytest.TempPathFactory) -> Start:
    """A port of a source of the old task, and new tasks taught to the same source."""
    folder = tmp_path_factory.mktemp("artifacts")
    runs = {
        "source": make_run("source", "small", data={"tasks": OLD}),
        "port": make_run("portal", "target", data={"tasks": OLD}),
        "taught": make_run("taught", "small", data={"tasks": NEW}),
    }
    for name, run in runs.items():
        save_trained(bases, run, None if name == "source" else folder / "source" / "small", folder / name)
    return Start(folder / "port", latents=folder / "taught")


def carried(method: str, bases: dict[str, Base], start: Start, tasks: tuple[str, ...] = NEW) -> Learner:
    run: RunConfig = make_run(method, "target", data={"tasks": tasks})
    return build_learner(run, bases, {"target": make_rows(bases["target"])}, start=start)


def test_a_carried_task_has_the_ports_factors_of_its_taught_latent(
    bases: dict[str, Base], start: Start
) -> None:
    assert start.latents is not None
    port, taught = Artifact.load(start.folder), Artifact.load(start.latents)
    _, core = port.frozen_core((), port.config.adapter, port.config.hypernet)
    with torch.no_grad():
        wanted = port.converter()(core, torch.stack([taught.latents[task] for task in NEW]))

    found = carried("carried", bases, start).factors("target")

    for group, pair in wanted.items():
        for mine, theirs in zip(found[group], pair, strict=True):
            assert torch.equal(mine, theirs)


def test_a_mismatched_task_has_the_factors_of_the_next_one(bases: dict[str, Base], start: Start) -> None:
    own = carried("carried", bases, start).factors("target")
    exchanged = carried("mismatched_latent", bases, start).factors("target")

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
