"""How far tasks pull an artifact's core in one direction: the cosines of their gradients of it.

Shape letters: T tasks, Z latent width, P shared parameters.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from portal.artifacts.artifact import Artifact
from portal.bases.base import Base
from portal.data.token_rows import TokenRow
from portal.device import is_out_of_memory, release_memory
from portal.forward.adapter_hooks import AdapterHooks, Segment
from portal.forward.losses import slot_losses
from portal.forward.microbatch import MAX_FORWARD_TOKENS, SlotRows, launch_cost, plan_microbatches
from portal.storage.checkpoint import below


def core_cosines(
    artifact: Artifact,
    base: Base,
    rows: Mapping[str, Sequence[TokenRow]],
    *,
    max_tokens: int = MAX_FORWARD_TOKENS,
) -> Tensor:
    """The cosine of every two tasks' gradients of the core, (T, T), tasks in the order of `rows`.

    A task's loss is the mean negative log-likelihood per token of its rows' gold answers, with its adapter on
    the artifact's own base. Of a core that has just been trained the gradients are what is left of the
    conflict. NaN for a task whose gradient is zero. `max_tokens` are the padded tokens of one forward, fewer
    where the memory is short. ValueError for a base that is not the artifact's.
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
    cost = launch_cost(base, len(config.adapter.modules))

    def gradient_of(index: int, task: str, task_rows: tuple[TokenRow, ...], max_tokens: int) -> list[Tensor]:
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for forward in plan_microbatches([SlotRows(0, 0, task_rows)], costs=[cost], max_tokens=max_tokens):
            factors = converter(core, latent_TZ[index : index + 1])
            with hooks.active([Segment(1, factors, config.adapter.scaling)]):
                (loss,) = slot_losses(base, forward.slots, length=forward.length)
                gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            for sum_, gradient in zip(total, gradients, strict=True):
                sum_.add_(gradient)
        return total

    own = list[list[Tensor]]()
    for index, (task, task_rows) in enumerate(rows.items()):
        while len(own) == index:
            try:
                own.append(gradient_of(index, task, tuple(task_rows), max_tokens))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or max_tokens <= max(len(row.gold_ids) for row in task_rows):
                    raise
                max_tokens //= 2
            if len(own) == index:
                release_memory()  # after the block: its error holds what the failed forward has kept
    return task_cosines(own)


def task_cosines(own: Sequence[Sequence[Tensor]]) -> Tensor:
    """The cosine of every two tasks' gradients of what they share, (T, T); NaN for a gradient of zero.

    `own[t]` are task t's gradients of all shared parameters.
    """
    gramian_TT = own[0][0].new_zeros(len(own), len(own))
    for parts in zip(*own, strict=True):  # one shared parameter after another
        jacobian_TP = torch.stack([part.flatten() for part in parts])
        gramian_TT = gramian_TT + jacobian_TP @ jacobian_TP.T
    norm_T = gramian_TT.diagonal().sqrt()
    return gramian_TT / (norm_T[:, None] * norm_T[None])
