"""Published numbers of the PorTAL paper (Ramp Labs, 2026), shown beside a study's own, never among them."""

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.stats.quantities import Spread


@dataclass(frozen=True)
class Published:
    """A base of the paper: the section of its table, and acc_norm by method, task mean over three seeds."""

    section: str
    accuracy: Mapping[str, Spread]


def _three(mean: float, std: float) -> Spread:
    return Spread(mean, std, 3)


def _frozen(mean: float) -> Spread:
    return Spread(mean, None, 1)


PUBLISHED = {
    "qwen3-4b": Published(
        "6.1",
        {"base": _frozen(0.627), "lora": _three(0.765, 0.003), "hypernet": _three(0.757, 0.003)},
    ),
    "qwen3-8b": Published(
        "6.2",
        {
            "base": _frozen(0.667),
            "lora": _three(0.795, 0.004),
            "hypernet": _three(0.785, 0.002),
            "cross_lora": _three(0.685, 0.001),
            "portal": _three(0.792, 0.004),
        },
    ),
    "gemma-3-4b": Published(
        "6.3",
        {"base": _frozen(0.595), "lora": _three(0.778, 0.004), "portal": _three(0.767, 0.004)},
    ),
}
"""The paper's bases, by their names here."""
