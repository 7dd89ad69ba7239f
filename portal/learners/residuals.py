"""Fresh residuals, as parameters of the learners that train them.

Shape letters: S tasks, q residual rank, c core width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from portal.config import RunConfig
from portal.learners.base import named_generator

ResidualParameters = dict[str, tuple[nn.Parameter, nn.Parameter]]
"""By module A (S, q, c) and B (S, c, q)."""


def fresh_residuals(run: RunConfig, tasks: Sequence[str], device: torch.device) -> ResidualParameters:
    """Residuals of the rank that the run's settings name; none where that is 0.

    They start as peft's LoRA does, in core coordinates: A drawn by seed and task, B zero.
    """
    assert run.seed is not None
    assert run.adapter is not None
    assert run.hypernet is not None
    assert run.train is not None
    rank, width = run.train.residual_rank, run.hypernet.d_core
    if rank == 0:
        return {}
    generators = [named_generator(run.seed, f"residual {task}") for task in tasks]
    bound = 1 / math.sqrt(width)

    def draw(generator: torch.Generator) -> Tensor:
        return torch.empty(rank, width).uniform_(-bound, bound, generator=generator)

    residuals: ResidualParameters = {}
    for module in run.adapter.modules:
        a_SQC = torch.stack([draw(generator) for generator in generators])
        b_SCQ = torch.zeros(len(tasks), width, rank)
        residuals[module] = (nn.Parameter(a_SQC.to(device)), nn.Parameter(b_SCQ.to(device)))
    return residuals
