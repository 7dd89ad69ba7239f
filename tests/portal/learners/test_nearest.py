"""The source's task that fits rows best: chosen by log-loss, as a control and as a start."""

from pathlib import Path

import pytest
import torch

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base
from portal.data.token_rows import TokenRow
from portal.evaluate.loglikelihood import score_rows, summarise
from portal.learners.nearest import MOST_ROWS, NearestLatents, nearest_tasks
from portal.learners.taught import TaughtLatents
from portal.train_config import TrainConfig
from tests.support.bases import make_base, make_rows, make_run
from tests.support.packs import make_pack, run_to_end

OLD, NEW = ("colours", "names"), ("sums",)


@pytest.fixture(scope="module")
def bases() -> dict[str, Base]:
    return {"small": make_base("small", "qwen3", hidden=24, layers=3, seed=1)}


@pytest.fixture(scope="module")
def source(bases: dict[str, Base], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    run = make_run("source", "small", data={"tasks": OLD})
    pack = make_pack(bases, [run], None)
    run_to_end(pack)
    pack.learners[0].save_artifact(folder, RunRecord.of(run))
    return folder / "small"


def losses(base: Base, artifact: Artifact, rows: list[TokenRow]) -> dict[str, float]:
    """The mean NLL of gold answers' tokens by old task, by scoring all choices with its adapter."""
    found = {}
    for task in OLD:
        with artifact.applied(base, task):
            found[task] = summarise(score_rows(base, rows)).log_loss
    return found


def test_the_nearest_task_has_the_least_log_loss(bases: dict[str, Base], source: Path) -> None:
    artifact, table = Artifact.load(source), make_rows(bases["small"])
    rows = {task: list(table.rows(task, "train"))[:MOST_ROWS] for task in (*OLD, *NEW)}

    found = nearest_tasks(artifact, bases["small"], rows)

    for task, own in rows.items():
        by_task = losses(bases["small"], artifact, own)
        assert found[task] == min(by_task, key=by_task.__getitem__)


def test_the_control_leaves_the_nearest_latent_under_the_new_name(
    bases: dict[str, Base], source: Path, tmp_path: Path
) -> None:
    run = make_run("nearest_latent", "small", data={"tasks": NEW, "size": 4})
    (learner,) = make_pack(bases, [run], source).learners
    assert isinstance(learner, NearestLatents)

    learner.save_artifact(tmp_path, RunRecord.of(run))

    before, after = Artifact.load(source), Artifact.load(tmp_path)
    assert after.config.tasks == (*OLD, *NEW)
    assert torch.equal(after.latents["sums"], before.latents[learner.nearest["sums"]])
    assert after.record is not None
    assert before.record is not None
    assert after.record.core_sha256 == before.record.core_sha256


def test_teaching_can_start_at_the_nearest_latent(bases: dict[str, Base], source: Path) -> None:
    train = TrainConfig(epochs=1, rounds_per_epoch=3, lr_latent=0.3, latent_start="nearest")
    run = make_run("taught", "small", data={"tasks": NEW, "size": 4}, train=train)
    control = make_run("nearest_latent", "small", data={"tasks": NEW, "size": 4})
    taught, nearest = (make_pack(bases, [each], source).learners[0] for each in (run, control))
    assert isinstance(taught, TaughtLatents)
    assert isinstance(nearest, NearestLatents)

    start = Artifact.load(source).latents[nearest.nearest["sums"]]
    assert torch.equal(taught.latents[0], start)
