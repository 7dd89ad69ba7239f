"""AdamW with a schedule and clipping, and what is done to gradients before it.

Losses are normalised per (base, task), bases have equal say in the latents' gradient, and tasks may have in
that of what they share. Shape letters: T tasks, K losses, S slots.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from portal.train_config import TrainConfig

Rates = list[tuple[list[nn.Parameter], float]]
"""Parameters and their learning rate before its schedule."""


class Optimiser:
    """torch's AdamW over groups of (parameters, learning rate), scheduled over `num_steps`.

    Tasks that share nothing are stacked: with `tasks` every parameter is (S, ...), a slot for each of them in
    turn. One optimiser call serves them all. AdamW is elementwise and every slot is clipped by its own norm,
    so each task trains as if it were alone. The moments are there from the start: a step needs no memory, so
    it cannot end halfway.
    """

    def __init__(
        self, groups: Rates, train: TrainConfig, num_steps: int, *, tasks: Sequence[str] = ()
    ) -> None:
        self.tasks, self.num_steps = tuple(tasks), num_steps
        self.parameters = [parameter for parameters, _ in groups for parameter in parameters]
        self._rates, self._train = [rate for _, rate in groups], train
        self._adamw: Any = torch.optim.AdamW(
            [{"params": parameters, "lr": rate} for parameters, rate in groups],
            betas=train.betas,
            weight_decay=train.weight_decay,
            fused=True,
        )
        for parameter in self.parameters:
            self._adamw.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def clip(self) -> Tensor:
        """Scale the gradients to the recipe's norm at most; the norms before, one a slot or of all, (M,)."""
        if self.tasks:
            return clip_slots(self.parameters, self._train.clip_norm)
        return torch.nn.utils.clip_grad_norm_(self.parameters, self._train.clip_norm)[None]

    def step(self, step: int, *, skip: Tensor | None = None) -> None:
        """Take step number `step` (from 0) with the gradients at hand, then drop them.

        With a `skip` of 1 (a number on the parameters' device) nothing changes; the host does not learn it.
        """
        self._adamw.found_inf = skip  # as torch's GradScaler tells a fused optimiser
        factor = schedule_factor(step, self.num_steps, self._train)
        for group, rate in zip(self._adamw.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)

    def drop_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """Moments and step counts, named `<parameter index>.<kind>`."""
        state = self._adamw.state_dict()["state"]
        return {f"{index}.{kind}": value for index, kinds in state.items() for kind, value in kinds.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        state = self._adamw.state_dict()
        state["state"] = {}
        for name, value in tensors.items():
            index, kind = name.split(".")
            state["state"].setdefault(int(index), {})[kind] = value
        self._adamw.load_state_dict(state)


def schedule_factor(step: int, num_steps: int, train: TrainConfig) -> float:
    """The learning rate's factor at `step`: linear warm-up, then constant or linear to zero."""
    warmup = int(train.warmup_ratio * num_steps)
    if step < warmup:
        return (step + 1) / warmup
    if train.schedule == "linear":
        return max(0.0, (num_steps - step) / max(1, num_steps - warmup))
    return 1.0


def clip_slots(parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
    """Scale every slot's gradient to a norm of at most `limit`, as clip_grad_norm_ does for one.

    Returns the norms before, (S,).
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    assert len(gradients) == len(parameters), "no gradient reached some parameters"
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients])
    norm_S = squares.sum(0).sqrt()
    scale_S = (limit / (norm_S + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale_S.view(-1, *[1] * (gradient.ndim - 1)))
    return norm_S


class LossEMA:
    """Exponential moving averages of the losses of T tasks on one base; the divisor of each task's loss.

    The average is updated with the current loss and then used: ema <- loss if unset, else d ema + (1 - d)
    loss. Updated averages wait for `commit`, so that losses which are computed again count once.
    """

    def __init__(self, num_tasks: int, *, decay: float, floor: float, device: torch.device) -> None:
        self._decay, self._floor = decay, floor
        self.value_T = torch.full((num_tasks,), torch.nan, device=device)  # NaN: unset
        self._updates: list[tuple[Tensor, Tensor]] = []

    def divisors(self, tasks_K: Tensor, loss_K: Tensor) -> Tensor:
        """max(ema, floor) of distinct tasks, with their current losses in the averages; no gradient."""
        current_K = loss_K.detach()
        previous_K = self.value_T[tasks_K]
        updated_K = torch.where(
            previous_K.isnan(), current_K, self._decay * previous_K + (1 - self._decay) * current_K
        )
        self._updates.append((tasks_K, updated_K))
        return updated_K.clamp(min=self._floor)

    def commit(self) -> None:
        """Make the averages of this step's losses current."""
        for tasks_K, updated_K in self._updates:
            self.value_T[tasks_K] = updated_K
        self.drop()

    def drop(self) -> None:
        """Forget the losses since the last `commit`."""
        self._updates = []


def balance_gradients(gradients: list[Tensor]) -> Tensor:
    """sum_b g_b / (|g_b| + 1e-8) * mean_b |g_b|, Frobenius norms (docs/method.md, "Source training").

    The gradients are those of the whole latent table, one per base. With one base, or while all are zero, it
    is their plain sum.
    """
    if len(gradients) == 1:
        return gradients[0]
    norms = [gradient.norm() for gradient in gradients]
    mean = torch.stack(norms).mean()
    return (
        torch.stack([gradient / (norm + 1e-8) for gradient, norm in zip(gradients, norms, strict=True)]).sum(
            0
        )
        * mean
    )


def equalized_sum(own: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """sum_t w_t g_t of every shared parameter, w_t = mean |g| / |g_t|; tasks without a gradient are left out.

    `own[t]` are task t's gradients of all shared parameters. One that is not finite gives weights that are
    not.
    """
    norm_T = torch.stack([torch.stack([part.norm() for part in gradient]).norm() for gradient in own])
    mean = norm_T.sum() / (norm_T > 0).sum().clamp(min=1)
    weight_T = torch.where(norm_T == 0, 0.0, mean / norm_T)  # a NaN stays one, for `update` to see
    return [torch.einsum("t...,t->...", torch.stack(parts), weight_T) for parts in zip(*own, strict=True)]
