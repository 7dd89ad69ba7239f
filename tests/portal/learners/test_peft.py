"""The reference engine: peft's own training ends where the packed LoRA learner does."""

from pathlib import Path

import pytest
import torch

from portal.artifacts.peft_adapter import read_peft_factors
from portal.artifacts.run_record import RunRecord
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig
from portal.learners.base import Learner
from portal.learners.factory import build_learner
from portal.learners.lora import LoraLearner
from portal.learners.peft import PeftLearner
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import TASKS, make_base, make_rows, make_run
from tests.support.zoo import tiny_base

ADAPTER = AdapterConfig(modules=tuple(MODULE_PATHS), rank=4, alpha=8)


def trained(base: Base, engine: str, **changes: float | str) -> tuple[Pack, Learner, list[float]]:
    """A pack with one learner at its end, and its loss in every step."""
    train = TrainConfig(epochs=3, lr=5e-3, engine=engine, evaluate="last_epoch", schedule="linear", **changes)
    run = make_run("lora", base.name, adapter=ADAPTER, train=train)
    rows = {base.name: make_rows(base)}
    learner = build_learner(run, {base.name: base}, rows)
    pack = Pack({base.name: base}, rows, [learner])
    losses = []
    while pack.active:
        for owner, epoch in pack.due():
            pack.evaluate(owner, epoch)
        if learner.step < learner.num_steps:
            pack.step()
            pack.sync_metrics()
            losses.append(pack.losses[run.key])
    return pack, learner, losses


@pytest.mark.oracle
@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_both_engines_train_the_same_adapters(family: str, tmp_path: Path) -> None:
    base = make_base("base", family)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}

    _, packed, ours = trained(base, "pack")
    _, reference, theirs = trained(base, "peft")

    assert isinstance(packed, LoraLearner)
    assert isinstance(reference, PeftLearner)
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert (packed.train_tokens, packed.train_flops) == (reference.train_tokens, reference.train_flops)
    assert packed.num_trained_params == reference.num_trained_params
    for task in TASKS:
        for group, pair in packed.task_factors(task).items():
            for own, peers in zip(pair, reference.task_factors(task)[group], strict=True):
                assert (own - peers).norm() / peers.norm() < 2e-5
    assert base.model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())
    reference.save_artifact(tmp_path, RunRecord.of(reference.run))
    written = read_peft_factors(tmp_path / "sums", base.device)
    assert len(written) == len(base.sites)


def test_a_reference_run_that_diverges_leaves_with_its_task_named() -> None:
    base = make_base("base", "qwen3")
    train = TrainConfig(epochs=3, lr=1e30, engine="peft", evaluate="last_epoch")
    run = make_run("lora", base.name, adapter=ADAPTER, train=train)
    rows = {base.name: make_rows(base)}
    pack = Pack({base.name: base}, rows, [build_learner(run, {base.name: base}, rows)])

    while pack.active:
        pack.step()

    assert "the loss of task 'colours'" in pack.failed[run.key]


def test_layers_that_peft_passes_over_are_named() -> None:
    base = tiny_base("deepseek_v3")
    run = make_run("lora", base.name, adapter=ADAPTER, train=TrainConfig(epochs=1, engine="peft"))

    with pytest.raises(ValueError, match=r"engine peft: peft does not adapt model\.layers\.\d\.mlp\."):
        PeftLearner(run, {base.name: base}, {base.name: make_rows(base)})
