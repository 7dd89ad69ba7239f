"""AdamW with a schedule, and its state as plain tensors."""

from typing import Any

import torch
from torch import Tensor, nn

from portal.train_config import TrainConfig


class Optimiser:
    """torch's AdamW over groups of (parameters, learning rate), scheduled over `num_steps`.

    Clipping is the owner's, since only it knows which gradients share a norm. The moments are there from the
    start: a step needs no memory, so it cannot end halfway.
    """

    def __init__(
        self, groups: list[tuple[list[nn.Parameter], float]], train: TrainConfig, num_steps: int
    ) -> None:
        self._rates = [rate for _, rate in groups]
        self._train, self._num_steps = train, num_steps
        self._adamw: Any = torch.optim.AdamW(
            [{"params": parameters, "lr": rate} for parameters, rate in groups],
            betas=train.betas,
            weight_decay=train.weight_decay,
            fused=True,
        )
        for parameters, _ in groups:
            for parameter in parameters:
                self._adamw.state[parameter] = {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }

    def step(self, step: int, *, skip: Tensor | None = None) -> None:
        """Take step number `step` (from 0) with the gradients at hand, then drop them.

        With a `skip` of 1 (a number on the parameters' device) nothing changes; the host does not learn it.
        """
        self._adamw.found_inf = skip  # as torch's GradScaler tells a fused optimiser
        factor = schedule_factor(step, self._num_steps, self._train)
        for group, rate in zip(self._adamw.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)

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


def clip_global_norm(parameters: list[nn.Parameter], limit: float) -> Tensor:
    """Scale the gradients so that their joint norm is at most `limit`; returns the norm before."""
    return torch.nn.utils.clip_grad_norm_(parameters, limit)
