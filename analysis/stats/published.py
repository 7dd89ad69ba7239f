"""Published numbers, shown beside a study's own, never among them: of the PorTAL paper (Ramp Labs, 2026), and
of portallib's model cards.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.stats.aggregate import Spread


@dataclass(frozen=True)
class Published:
    """A base: where its numbers stand, acc_norm by method as the mean over tasks, and what they are not."""

    source: str
    accuracy: Mapping[str, Spread]
    caveat: str | None = None


_OF_CARDS = (
    "one seed, whose epoch was chosen on the rows that are reported; a port above its LoRA shows that the "
    "LoRA was not tuned"
)


def _three(mean: float, std: float) -> Spread:
    return Spread(mean, std, 3)


def _frozen(mean: float) -> Spread:
    return Spread(mean, None, 1)


PUBLISHED = {
    "qwen3-4b": Published(
        "the paper's table 6.1",
        {"base": _frozen(0.627), "lora": _three(0.765, 0.003), "hypernet": _three(0.757, 0.003)},
    ),
    "qwen3-8b": Published(
        "the paper's table 6.2",
        {
            "base": _frozen(0.667),
            "lora": _three(0.795, 0.004),
            "hypernet": _three(0.785, 0.002),
            "cross_lora": _three(0.685, 0.001),
            "portal": _three(0.792, 0.004),
        },
    ),
    "gemma-3-4b": Published(
        "the paper's table 6.3",
        {"base": _frozen(0.595), "lora": _three(0.778, 0.004), "portal": _three(0.767, 0.004)},
    ),
}
"""The paper's bases, by their names here; means over three seeds."""
CARDS = {
    name: Published(
        "portallib's card", {method: _frozen(mean) for method, mean in accuracy.items()}, _OF_CARDS
    )
    for name, accuracy in {
        "gemma-4-e2b": {"base": 0.5729, "lora": 0.7084, "portal": 0.7363},
        "mistral-7b": {"base": 0.6127, "portal": 0.7914},
        "inkling": {"base": 0.6767, "lora": 0.8610, "portal": 0.8692},
    }.items()
}
"""Bases of portallib's model cards."""


_OF_HUB = {
    "Qwen/Qwen3-4B": "qwen3-4b",
    "Qwen/Qwen3-8B": "qwen3-8b",
    "google/gemma-3-4b-pt": "gemma-3-4b",
    "google/gemma-4-E2B": "gemma-4-e2b",
    "mistralai/Mistral-7B-v0.3": "mistral-7b",
}
"""What these bases are called here, by their hub ids; that of Inkling is not known here."""


def published_for(base: str) -> Published | None:
    """What is published of a base, by its short name or its hub id; None for most."""
    name = _OF_HUB.get(base, base)
    return PUBLISHED.get(name) or CARDS.get(name)
