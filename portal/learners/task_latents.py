"""`TaskLatents`: what joint training generates adapters from: free latents, or latents with a description.

Shape letters: T tasks, Z latent width, D embedding width, P phrasings of a task.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from portal.device import to_device
from portal.train_config import TrainConfig

Rates = list[tuple[list[nn.Parameter], float]]
"""Parameters and their learning rates."""


class TaskLatents(ABC):
    """The latents of all tasks. Those of one step gather their gradient in a leaf of autograd's graph."""

    @property
    @abstractmethod
    def values(self) -> Tensor:
        """As they are scored and saved, (T, Z)."""

    @abstractmethod
    def leaf(self, step: int) -> Tensor:
        """As this step's factors are generated from them, (T, Z), the same for all bases."""

    @abstractmethod
    def receive(self, step: int, gradient_TZ: Tensor) -> None:
        """Carry the gradient of the step's leaf on to the parameters."""

    @abstractmethod
    def drop(self) -> None:
        """Forget what this step has gathered, so that it can be taken again."""

    @abstractmethod
    def rates(self, train: TrainConfig) -> Rates:
        """What trains; nothing where the latents are held."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All parameters, by their names in a checkpoint."""


class FreeLatents(TaskLatents):
    """A vector for each task: a parameter, which a refit holds."""

    def __init__(self, latents: nn.Parameter) -> None:
        self._latents = latents

    @property
    def values(self) -> nn.Parameter:
        return self._latents

    def leaf(self, step: int) -> Tensor:
        return self._latents

    def receive(self, step: int, gradient_TZ: Tensor) -> None:
        self._latents.grad = gradient_TZ

    def drop(self) -> None:
        self._latents.grad = None

    def rates(self, train: TrainConfig) -> Rates:
        return [([self._latents], train.lr_latent)] if self._latents.requires_grad else []

    def tensors(self) -> dict[str, Tensor]:
        return {"task_latents": self._latents.data} if self._latents.requires_grad else {}


@dataclass(frozen=True)
class _DrawnStep:
    """Latents that a step draws: with the graph that leads to the parameters, and as a leaf of their own."""

    number: int
    graph: Tensor
    leaf: Tensor


class TextLatents(TaskLatents):
    """z_t = W x_t + b + d_t: x_t is the embedding of the task's description, d_t a part of its own.

    A step draws one phrasing of each task, and drops d_t with a probability of `dropout`, so that
    descriptions alone stand for tasks. Scores take the mean of the phrasings, and d_t.
    """

    def __init__(
        self,
        embeddings: Sequence[Tensor],
        width: int,
        *,
        dropout: float,
        std: float,
        seed: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        """`embeddings` are (P, D) of each task, of unit length; fresh latents have deviation `std`."""
        self.embeddings = [rows.to(device) for rows in embeddings]
        self._mean_TD = torch.stack([rows.mean(0) for rows in self.embeddings])
        self._dropout, self._seed = dropout, seed
        d_text = self._mean_TD.shape[1]
        self.linear = nn.Linear(d_text, width, device=device)
        with torch.no_grad():
            self.linear.weight.copy_(std * torch.randn(width, d_text, generator=generator))
            self.linear.bias.zero_()
        self.own = nn.Parameter(torch.zeros(len(embeddings), width, device=device))
        self._step: _DrawnStep | None = None

    @property
    def values(self) -> Tensor:
        with torch.no_grad():
            return self.linear(self._mean_TD) + self.own

    def leaf(self, step: int) -> Tensor:
        return self._drawn_step(step).leaf

    def receive(self, step: int, gradient_TZ: Tensor) -> None:
        torch.autograd.backward(self._drawn_step(step).graph, gradient_TZ)
        self._step = None

    def drop(self) -> None:
        self._step = None

    def rates(self, train: TrainConfig) -> Rates:
        return [([self.own], train.lr_latent), (list(self.linear.parameters()), train.lr)]

    def tensors(self) -> dict[str, Tensor]:
        return {
            "text.own": self.own.data,
            "text.weight": self.linear.weight.data,
            "text.bias": self.linear.bias.data,
        }

    def _drawn_step(self, step: int) -> _DrawnStep:
        if self._step is None or self._step.number != step:
            graph = self._drawn(step)
            self._step = _DrawnStep(step, graph, graph.detach().requires_grad_())
        return self._step

    def _drawn(self, step: int) -> Tensor:
        """The latents of that step, with the graph that leads to the parameters."""
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self._seed} text {step}".encode()))
        places = [int(torch.randint(len(rows), (), generator=generator)) for rows in self.embeddings]
        kept_T1 = torch.rand(len(places), 1, generator=generator) >= self._dropout
        x_TD = torch.stack([rows[place] for rows, place in zip(self.embeddings, places, strict=True)])
        drawn: Tensor = self.linear(x_TD) + self.own * to_device(kept_T1, self.own.device)
        return drawn
