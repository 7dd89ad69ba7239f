"""Recovered lift and retention: a method's accuracy against the frozen base's and the per-task LoRA's.

The formulas are those of docs/method.md, "Evaluation".
"""

from analysis.stats.quantities import Quantity


def recovered_lift(accuracy: float | None, base: float | None, lora: float | None) -> Quantity:
    """(accuracy - base) / (lora - base), macro means; undefined unless the LoRA rises above the base."""
    if accuracy is None:
        return Quantity(None, "no score of its own")
    if base is None:
        return Quantity(None, "no score of the frozen base")
    if lora is None:
        return Quantity(None, "no per-task LoRA on this base")
    if lora <= base:
        return Quantity(None, "the per-task LoRA does not rise above the base")
    return Quantity((accuracy - base) / (lora - base))


def retention(accuracy: float | None, lora: float | None) -> Quantity:
    """accuracy / lora, macro means."""
    if accuracy is None:
        return Quantity(None, "no score of its own")
    if lora is None:
        return Quantity(None, "no per-task LoRA on this base")
    if lora <= 0:
        return Quantity(None, "the per-task LoRA's accuracy is not positive")
    return Quantity(accuracy / lora)
