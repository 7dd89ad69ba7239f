"""The readings are those of the factors that the run's adapters have."""

import pytest
import torch

from benchmarks.factor_norms import build, watch
from portal.config import RunConfig
from portal.data.suites import load_suite

RUN = RunConfig.model_validate(
    {
        "method": "hypernet",
        "bases": [{"name": "mini-qwen3-xs", "revision": "any"}],
        "seed": 0,
        "adapter": {"modules": ["q", "v"], "rank": 2},
        "hypernet": {"d_latent": 5, "d_layer": 3, "hidden": 6, "d_core": 4},
        "train": {"epochs": 1, "rounds_per_epoch": 6, "evaluate": "last_epoch", "lr": 1e-2},
        "data": {
            "suite": "mini", "tasks": ["fact_qa", "counting"], "prompt_set": "any", "size": 8,
            "data_hash": "any",
        },
    }
)  # fmt: skip
"""Joint training of two tasks on an embedded base, for six steps."""


def test_a_reading_has_the_norm_of_all_factors_and_what_differs_between_tasks() -> None:
    learner, pack = build(RUN, load_suite("mini"))

    first, last = watch(learner, pack, steps=4, every=2)

    assert (first.step, last.step) == (2, 4)
    factors = list(learner.factors("mini-qwen3-xs").values())
    flat = torch.cat([factor.flatten() for pair in factors for factor in pair])
    assert last.norm == pytest.approx(flat.norm().item())
    b = torch.cat([b.flatten(1) for _, b in factors], dim=1)
    centred = b - b.mean(0)
    assert last.between_tasks == pytest.approx((centred.norm() ** 2 / b.norm() ** 2).item())
    assert last.latent_std == pytest.approx(learner.latents.std().item())
    assert first.loss > 0
