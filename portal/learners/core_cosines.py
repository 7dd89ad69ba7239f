"""How far tasks pull an artifact's core in one direction: the cosines of their gradients of it.

Shape letters: T tasks.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from portal.artifacts.artifact import Artifact
from portal.bases.base import Base
from portal.data.token_rows import TokenRow
from portal.forward.adapter_hooks import AdapterHooks, Segment
from portal.forward.losses import slot_losses
from portal.forward.microbatch import SlotRows
from portal.learners.task_gradients import task_cosines
from portal.storage.checkpoint import below

_MAX_ROWS = 64
"""Rows of a task in one forward."""


def core_cosines(artifact: Artifact, base: Base, rows: Mapping[str, Sequence[TokenRow]]) -> Tensor:
    """The cosine of every two tasks' gradients of the core, (T, T), tasks in the order of `rows`.

    A task's loss is the mean negative log-likelihood per token of its rows' gold answers, with its adapter on
    the artifact's own base. Of a core that has just been trained the gradients are what is left of the
    conflict. NaN for a task whose gradient is zero. ValueError for a base that is not the artifact's.
    """
    artifact.check_base(base)
    config = artifact.config
    latents, core = artifact.frozen_core(tuple(rows), config.adapter, config.hypernet)
    converter = config.converter()
    converter.load_state_dict(below(artifact.tensors, "alignment."))
    core, converter = core.to(base.device), converter.to(base.device).requires_grad_(False)
    latent_TZ = latents.detach().to(base.device)
    hooks = AdapterHooks(base.model, base.sites)
    parameters = list(core.parameters())
    own = []
    for index, task_rows in enumerate(rows.values()):
        whole = SlotRows(0, 0, tuple(task_rows))
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for start in range(0, len(task_rows), _MAX_ROWS):
            factors = converter(core, latent_TZ[index : index + 1])
            with hooks.active([Segment(1, factors, config.adapter.scaling)]):
                (loss,) = slot_losses(base, [whole.part(task_rows[start : start + _MAX_ROWS])])
                gradients = torch.autograd.grad(loss, parameters)
            for sum_, gradient in zip(total, gradients, strict=True):
                sum_.add_(gradient)
        own.append(total)
    return task_cosines(own)
