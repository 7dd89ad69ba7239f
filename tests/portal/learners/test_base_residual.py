"""Latents with a LoRA beside each: what trains, what it is worth at the start, and what is written."""

import json
from pathlib import Path

import pytest
import torch
from torch.optim import AdamW

from portal.artifacts.artifact import Artifact
from portal.artifacts.peft_adapter import read_peft_factors
from portal.artifacts.run_record import RunRecord
from portal.bases.base import Base
from portal.forward.adapter_hooks import adapted
from portal.forward.losses import slot_losses
from portal.learners.lora import init_a, lora_generator
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import make_base, make_run
from tests.support.packs import assert_same_tensors, make_pack, run_to_end, save_source

TASK = "sums"
TEACHING = TrainConfig(epochs=3, lr_latent=0.3, lr=0.05, batch_size=4, residual_rank=3)


@pytest.fixture(scope="module")
def bases() -> dict[str, Base]:
    return {"small": make_base("small", "qwen3", hidden=24, layers=3, seed=1)}


@pytest.fixture(scope="module")
def source(bases: dict[str, Base], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_source(bases, tmp_path_factory.mktemp("source"))


def taught_pack(bases: dict[str, Base], source: Path, *tasks: str) -> Pack:
    run = make_run("base_residual", "small", data={"tasks": tasks, "size": 9}, train=TEACHING)
    return make_pack(bases, [run], source, counts={"names": 4})


def test_latent_and_lora_follow_plain_adamw_on_the_tasks_own_loss(
    bases: dict[str, Base], source: Path
) -> None:
    """The oracle: the artifact's core and converter, a LoRA after what they give, torch's own optimiser."""
    pack = taught_pack(bases, source, TASK)
    (learner,) = pack.learners
    artifact, base = Artifact.load(source), bases["small"]
    _, core = artifact.frozen_core((), artifact.config.adapter, artifact.config.hypernet)
    converter = artifact.converter()
    generator = lora_generator(learner.run.seed, TASK)
    latent = artifact.mean_latent[None].clone().requires_grad_()
    loras = {
        group: (
            init_a(group, 3, generator)[None].requires_grad_(),
            torch.zeros(1, len(group.layers), group.d_out, 3, requires_grad=True),
        )
        for group in converter.groups
    }
    own = [factor for pair in loras.values() for factor in pair]
    optimiser = AdamW(
        [{"params": [latent], "lr": TEACHING.lr_latent}, {"params": own, "lr": TEACHING.lr}],
        weight_decay=TEACHING.weight_decay,
    )

    for _ in range(learner.num_steps):
        factors = {
            group: (torch.cat([a, loras[group][0]], 2), torch.cat([b, loras[group][1]], 3))
            for group, (a, b) in converter(core, latent).items()
        }
        with adapted(base, factors, artifact.config.adapter.scaling):
            loss = slot_losses(base, learner.slot_rows("small", 0))
        optimiser.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_([latent, *own], TEACHING.clip_norm)
        optimiser.step()
        for due, epoch in pack.due():
            pack.evaluate(due, epoch)
        pack.step()

    torch.testing.assert_close(learner.latents, latent, rtol=1e-4, atol=1e-5)
    for group, (a, b) in learner.factors("small").items():
        torch.testing.assert_close(a[:, :, -3:], loras[group][0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(b[..., -3:], loras[group][1], rtol=1e-4, atol=1e-5)
    assert learner.num_trained_params == latent.numel() + sum(factor.numel() for factor in own)


def test_it_starts_as_the_mean_latent_and_leaves_an_adapter_of_both(
    bases: dict[str, Base], source: Path, tmp_path: Path
) -> None:
    pack = taught_pack(bases, source, TASK)
    (learner,) = pack.learners
    artifact = Artifact.load(source)
    for group, (a, b) in artifact.mean_factors().items():
        mine_a, mine_b = learner.factors("small")[group]
        torch.testing.assert_close(mine_b @ mine_a, b @ a)

    run_to_end(pack)
    learner.save_artifact(tmp_path, RunRecord.of(learner.run))

    config = json.loads((tmp_path / TASK / "adapter_config.json").read_text())
    rank, alpha = artifact.config.rank, artifact.config.alpha
    assert (config["r"], config["lora_alpha"]) == (rank + 3, alpha * (rank + 3) // rank)
    written = read_peft_factors(tmp_path / TASK, torch.device("cpu"))
    paths = {(site.module, site.layer): site.path for site in bases["small"].sites}
    for group, (a, b) in learner.factors("small").items():
        assert a.shape[2] == artifact.config.rank + 3
        for index, layer in enumerate(group.layers):
            found_a, found_b = written[paths[group.module, layer]]
            torch.testing.assert_close(found_a, a[0, index].detach())
            torch.testing.assert_close(found_b, b[0, index].detach())


def test_tasks_of_unlike_numbers_of_rows_go_on_from_their_checkpoint(
    bases: dict[str, Base], source: Path
) -> None:
    pack = taught_pack(bases, source, "names", TASK)
    run_to_end(pack)
    assert len(pack.learners[0].stacks) == 2
    (again,) = taught_pack(bases, source, "names", TASK).learners

    again.restore(*pack.learners[0].state())

    assert_same_tensors(again, pack.learners[0])
    for group, pair in pack.learners[0].factors("small").items():
        assert all(map(torch.equal, again.factors("small")[group], pair))


def test_without_a_rank_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"method 'base_residual' needs train\.residual_rank"):
        make_run("base_residual", "small", train=TrainConfig())
