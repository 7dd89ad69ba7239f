"""The mean-latent control: a port with the mean of its calibrated tasks' latents in every slot."""

from pathlib import Path

import pytest
import torch

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import read_peft_factors
from portal.bases.base import Base
from portal.hypernet import Converter, CoreDecoder
from portal.storage.checkpoint import below
from tests.support.bases import TASKS, make_run
from tests.support.packs import make_pack, run_to_end

CALIBRATED = TASKS[:2]


@pytest.fixture(scope="module")
def port(bases: dict[str, Base], source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A port that is calibrated on two of three tasks."""
    folder = tmp_path_factory.mktemp("port")
    run = make_run("portal", "target", data={"calibrated": CALIBRATED})
    pack = make_pack(bases, [run], source)
    run_to_end(pack)
    pack.learners[0].save_artifact(folder, RunRecord.of(run))
    return folder


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
