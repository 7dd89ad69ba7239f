"""Rows with choices of every awkward shape, and their scores by the plain definition."""

import random
from collections.abc import Sequence

import torch

from portal.bases.base import Base
from portal.data.token_rows import TokenRow
from portal.evaluate.loglikelihood import Scored
from tests.support.bases import make_row

LABELS = make_row((5, 6, 7, 8), ((9,), (10,), (11,)), name="single tokens")
PREFIXES = make_row(tuple(range(3, 20)), ((9, 10), (9,), (9, 10, 11), (10, 9)), name="prefixes of each other")
LONG = make_row(
    tuple(3 + index * 7 % 90 for index in range(61)),
    (tuple(range(20, 33)), (20, 21, 4, 5, 6, 7, 8), (50,)),
    name="longer than the window",
)
SHORT = make_row((4,), ((5, 6, 7, 8, 9, 10, 11, 12), (13,)), name="prompt of one token")
NAMED_ROWS = (LABELS, PREFIXES, LONG, SHORT)


def random_rows(count: int, seed: int) -> list[TokenRow]:
    draw = random.Random(seed)

    def tokens(longest: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 100) for _ in range(draw.randint(1, longest)))

    return [
        make_row(tokens(30), tuple(tokens(9) for _ in range(draw.randint(2, 5))), name=f"random {index}")
        for index in range(count)
    ]


@torch.no_grad()
def score_one_by_one(base: Base, row: TokenRow) -> list[float]:
    """The plain definition: the model called on prompt + choice alone, without masks or packing."""
    scores = []
    for choice in row.choices:
        ids = torch.tensor([row.prompt + choice])
        log_probs = base.model(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
        start = len(row.prompt) - 1
        scores.append(sum(log_probs[start + i, token].item() for i, token in enumerate(choice)))
    return scores


def token_differences(ours: Sequence[Scored], theirs: Sequence[Scored]) -> torch.Tensor:
    """|difference| of every choice's log-likelihood per token that it is scored on, in nats."""
    return torch.tensor(
        [
            (a - b) / length
            for one, other in zip(ours, theirs, strict=True)
            for a, b, length in zip(one.scores, other.scores, one.row.scored_tokens, strict=True)
        ]
    ).abs()
