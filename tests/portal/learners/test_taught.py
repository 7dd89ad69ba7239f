"""Latents of new tasks: what trains, what is held, and what the artifact says of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch.optim import AdamW

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base
from portal.forward.adapter_hooks import adapted
from portal.forward.losses import slot_losses
from portal.learners.base import Start
from portal.learners.taught import TaughtLatents
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import make_base, make_rows, make_run
from tests.support.packs import assert_same_tensors, make_pack, run_to_end

OLD, NEW = ("colours", "names"), ("sums",)
TEACHING = TrainConfig(epochs=3, lr_latent=0.3, batch_size=4)


@pytest.fixture(scope="module")
def bases() -> dict[str, Base]:
    return {
        "small": make_base("small", "qwen3", hidden=24, layers=3, seed=1),
        "other": make_base("other", "qwen3", hidden=24, layers=2, seed=1),
    }


@pytest.fixture(scope="module")
def source(bases: dict[str, Base], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    pack = make_pack(bases, [make_run("source", "small", data={"tasks": OLD})], None)
    run_to_end(pack)
    pack.learners[0].save_artifact(folder, RunRecord.of(pack.learners[0].run))
    return folder / "small"


FEWER = {"names": 4}
"""Rows of a task that has fewer than the others, and so takes fewer steps."""


def taught_pack(
    bases: dict[str, Base],
    source: Path,
    tasks: tuple[str, ...] = NEW,
    counts: Mapping[str, int] | None = None,
) -> Pack:
    run = make_run("taught", "small", data={"tasks": tasks, "size": 9}, train=TEACHING)
    return make_pack(bases, [run], source, counts=counts)


def test_only_latents_of_new_tasks_train_and_all_else_stays_to_the_last_bit(
    bases: dict[str, Base], source: Path, tmp_path: Path
) -> None:
    pack = taught_pack(bases, source)
    (learner,) = pack.learners
    before = Artifact.load(source)
    assert torch.equal(learner.latents[0], before.mean_latent)

    run_to_end(pack)
    learner.save_artifact(tmp_path, RunRecord.of(learner.run))

    after = Artifact.load(tmp_path)
    assert after.config.tasks == (*OLD, *NEW)
    for name, value in before.tensors.items():
        found = after.tensors[name]
        assert torch.equal(found[: len(OLD)] if name == "task_latents" else found, value), name
    assert not torch.equal(after.latents["sums"], before.mean_latent)
    assert learner.num_trained_params == before.config.d_z
    assert after.calibrated == OLD
    assert after.record is not None
    assert after.record.core_sha256 == before.record.core_sha256
    assert after.record.lineage.source.core_sha256 == before.record.core_sha256


def test_a_latent_follows_plain_adamw_on_the_tasks_own_loss(bases: dict[str, Base], source: Path) -> None:
    """The oracle: one task, its factors from the artifact's core and converter, torch's own optimiser."""
    pack = taught_pack(bases, source)
    (learner,) = pack.learners
    artifact, base = Artifact.load(source), bases["small"]
    _, core = artifact.frozen_core((), artifact.config.adapter, artifact.config.hypernet)
    latent = artifact.mean_latent[None].clone().requires_grad_()
    optimiser = AdamW([latent], lr=TEACHING.lr_latent, weight_decay=TEACHING.weight_decay)

    for _ in range(learner.num_steps):
        factors = artifact.converter()(core, latent)
        with adapted(base, factors, artifact.config.adapter.scaling):
            loss = slot_losses(base, learner.slot_rows("small", 0))
        optimiser.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_([latent], TEACHING.clip_norm)
        optimiser.step()
        for due, epoch in pack.due():
            pack.evaluate(due, epoch)
        pack.step()

    torch.testing.assert_close(learner.latents, latent, rtol=1e-4, atol=1e-5)


def test_tasks_are_taught_in_one_pack_as_alone(bases: dict[str, Base], tmp_path: Path) -> None:
    """Tasks of unequal numbers of rows take unequal numbers of steps, each as if it were alone."""
    run = make_run("source", "small", data={"tasks": OLD[:1]})
    pack = make_pack(bases, [run], None)
    pack.learners[0].save_artifact(tmp_path, RunRecord.of(run))
    source = tmp_path / "small"
    together = taught_pack(bases, source, tasks=("names", "sums"), counts=FEWER)
    run_to_end(together)
    assert [stack.tasks for stack in together.learners[0].stacks] == [("sums",), ("names",)]

    for task in ("names", "sums"):
        alone = taught_pack(bases, source, tasks=(task,), counts=FEWER)
        run_to_end(alone)
        torch.testing.assert_close(
            together.learners[0].trained_latents()[task], alone.learners[0].trained_latents()[task]
        )


def test_teaching_goes_on_from_its_checkpoint(bases: dict[str, Base], source: Path) -> None:
    pack = taught_pack(bases, source)
    run_to_end(pack)
    (again,) = taught_pack(bases, source).learners
    tensors, meta = pack.learners[0].state()

    again.restore(tensors, meta)

    assert_same_tensors(again, pack.learners[0])


def test_a_base_that_the_artifact_was_not_made_for_is_refused(bases: dict[str, Base], source: Path) -> None:
    run = make_run("taught", "other", data={"tasks": NEW})

    with pytest.raises(ValueError, match=r"made for base 'small'; 'other' .*`portal port"):
        TaughtLatents.build(run, bases, {"other": make_rows(bases["other"])}, Start(source))
