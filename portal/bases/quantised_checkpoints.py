"""Checkpoints whose weights are published quantised: those dequantised when read, and those refused."""

from typing import Any

from transformers import FineGrainedFP8Config, Mxfp4Config, PretrainedConfig

from portal.bases.precision import QUANTISED
from portal.config import Precision

_DEQUANTISED = {"mxfp4": Mxfp4Config, "fp8": FineGrainedFP8Config}
"""What transformers turns into whole weights: it does not train on MXFP4, and FP8 would round inputs, too."""


def check_checkpoint(name: str, config: PretrainedConfig, precision: Precision = "default") -> str | None:
    """How the base's published weights are quantised; None where they are not.

    ValueError for a format that is not dequantised, and for a second quantisation by `precision`.
    """
    found = getattr(config, "quantization_config", None)
    if found is None:
        return None
    method = str((found if isinstance(found, dict) else found.to_dict()).get("quant_method"))
    if method not in _DEQUANTISED:
        raise ValueError(
            f"base {name!r}: its weights are quantised by {method!r}; only those by "
            f"{', '.join(_DEQUANTISED)} are dequantised. Take the checkpoint that it was made from"
        )
    if precision in QUANTISED:
        raise ValueError(
            f"base {name!r}: its weights are quantised by {method!r} already; precision {precision!r} would "
            "quantise them a second time"
        )
    return method


def dequantisation(method: str | None) -> dict[str, Any]:
    """What from_pretrained needs to read weights that are quantised by `method`, of `check_checkpoint`."""
    return {} if method is None else {"quantization_config": _DEQUANTISED[method](dequantize=True)}
