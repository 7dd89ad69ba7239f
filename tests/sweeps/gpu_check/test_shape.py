"""A base of a known shape with random weights, and rows as long as the tasks' are."""

import numpy as np
import pytest
import torch

from portal.bases.base import load_base
from portal.modules import ALL_MODULES
from sweeps.gpu_check.shape import BATCH, LENGTHS, ShapeWorld, random_base, random_rows

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def world() -> ShapeWorld:
    return ShapeWorld(random_base("mini-qwen3-xs", CPU))


def test_the_base_has_the_shape_of_its_namesake_and_other_weights(world: ShapeWorld) -> None:
    real = load_base("mini-qwen3-xs")

    assert world.base.sites == real.sites
    assert world.base.num_decoder_params == real.num_decoder_params
    ours, theirs = (each.model.model.layers[0].mlp.up_proj.weight for each in (world.base, real))
    assert ours.shape == theirs.shape
    assert not torch.equal(ours, theirs)
    assert not any(each.requires_grad for each in world.base.model.parameters())


def test_rows_are_as_long_as_those_of_each_task() -> None:
    rows = random_rows(1000)

    for task, (percentiles, answer, choices) in LENGTHS.items():
        own = rows.rows(task, "train")
        prompts = [len(row.prompt) for row in own]
        assert min(prompts) >= percentiles[0]
        assert max(prompts) <= percentiles[-1]
        assert np.median(prompts) == pytest.approx(percentiles[2], rel=0.4)
        assert {len(choice) for row in own for choice in row.choices} == {answer}
        assert {len(row.choices) for row in own} == {choices}
        assert rows.rows(task, "test")


@pytest.mark.parametrize("modules", [("q", "v"), ALL_MODULES])
def test_a_pack_steps_on_rows_of_every_task(world: ShapeWorld, modules: tuple[str, ...]) -> None:
    runs = world.runs(modules, 2)
    pack = world.pack(runs, {})

    assert pack.step() == 2
    pack.sync_metrics()

    assert not pack.failed
    assert len({run.seed for run in runs}) == 2
    for learner in pack.learners:
        assert sum(len(slot.rows) for slot in learner.slot_rows(world.base.name, 0)) == BATCH * len(LENGTHS)
