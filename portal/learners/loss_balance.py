"""Loss normalisation per (base, task) and equal say of every base in the latents' gradient."""

import torch
from torch import Tensor


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
