"""`Sampling`: how the next token is chosen: greedily, or by chance that depends on the row, not its batch."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 is greedy: the token of the highest logit, the lowest id of several.

    Else a token is drawn from softmax(logits / temperature), of the likeliest tokens whose probabilities add
    up to `top_p` (Holtzman et al., 2020, "The Curious Case of Neural Text Degeneration"). ValueError for a
    temperature below 0 or a `top_p` outside (0, 1].
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature {self.temperature:g} is below 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p:g} is outside (0, 1]")

    def choose(self, logits_NV: Tensor, rows: list[int], steps: list[int]) -> list[int]:
        """The next token of each row, (N, V) logits; `rows` and `steps` number its request and the token."""
        if self.temperature == 0:
            chosen: list[int] = logits_NV.argmax(-1).tolist()
            return chosen
        probs_NV = (logits_NV.double() / self.temperature).softmax(-1)
        sorted_NV, token_NV = probs_NV.sort(dim=-1, descending=True, stable=True)
        is_tail_NV = sorted_NV.cumsum(-1) - sorted_NV >= self.top_p
        probs_NV = probs_NV.masked_fill(torch.zeros_like(is_tail_NV).scatter(-1, token_NV, is_tail_NV), 0.0)
        # In the order of ids: near ties in that of probabilities would change places by rounding.
        ends_NV = probs_NV.cumsum(-1)
        draws_N = torch.tensor([self._draw(*each) for each in zip(rows, steps, strict=True)])
        wanted_N1 = draws_N.to(ends_NV)[:, None] * ends_NV[:, -1:]
        last_N1 = (ends_NV < ends_NV[:, -1:]).sum(-1, keepdim=True)
        drawn: list[int] = (ends_NV <= wanted_N1).sum(-1, keepdim=True).minimum(last_N1)[:, 0].tolist()
        return drawn

    def _draw(self, row: int, step: int) -> float:
        """A number in [0, 1) from seed, row and step."""
        digest = hashlib.sha256(f"{self.seed} {row} {step}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48
