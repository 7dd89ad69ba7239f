"""How bases lie on the GPUs of a worker, and what would make room for them, in sentences."""

from typing import get_args

from portal.bases.base_config import outline_config
from portal.config import Precision
from sweeps.planning.devices import Device
from sweeps.planning.memory import base_bytes, fullest_part, precision_of
from sweeps.planning.plan import Plan

_COUNTS = (1, 2, 4, 8)
"""GPUs of a worker that advice is for."""
_GIB = 2**30


def division_lines(plan: Plan) -> list[str]:
    """For each base that is divided over GPUs, the weights on the fullest of them, in less precision too."""
    count = plan.device.num_gpus
    if count == 1:
        return []
    lines = []
    for name in plan.bases:
        precision = precision_of(plan.missing, name)
        own, *others = (_on_fullest(name, each, count) for each in (precision, *_smaller(name, precision)))
        saved = f" ({', '.join(others)})" if others else ""
        lines.append(
            f"{name}: divided over {count} GPUs that compute in turns; {own} of weights on the fullest{saved}"
        )
    return lines


def room_lines(plan: Plan) -> list[str]:
    """For each base whose weights alone do not fit a worker's GPUs, a sentence on what they would fit."""
    device = plan.device
    if not device.is_gpu:
        return []
    return [
        line for name in plan.bases if (line := _room_line(name, precision_of(plan.missing, name), device))
    ]


def least_gpus(name: str, precision: Precision, room: float) -> int | None:
    """The least number of GPUs on which a base takes at most `room` bytes each; None where no number does."""
    for count in _COUNTS:
        try:
            part = fullest_part(name, precision, on_gpu=True, num_gpus=count)
        except ValueError:  # it cannot be divided over so many, nor over more
            return None
        if part.num_bytes <= room:
            return count
    return None


def _room_line(name: str, precision: Precision, device: Device) -> str | None:
    needed = least_gpus(name, precision, device.budget_bytes)
    if needed is not None and needed <= device.num_gpus:
        return None
    weights = base_bytes(name, precision, on_gpu=True) / _GIB
    ways = [f"gpus_per_worker: {needed} divides them"] if needed is not None else []
    for each in _smaller(name, precision):
        fewer = least_gpus(name, each, device.budget_bytes)
        if fewer is not None and (needed is None or fewer < needed):
            ways.append(f"precision: {each} fits {fewer} {'GPU' if fewer == 1 else 'GPUs'}")
    says = f"{name} has {weights:.0f} GiB of weights"
    return f"{says}: {'; '.join(ways)}" if ways else f"{says}, more than {_COUNTS[-1]} of these GPUs hold"


def _smaller(name: str, precision: Precision) -> list[Precision]:
    """Precisions in which the base has fewer bytes than in this one; none where it is published quantised."""
    if getattr(outline_config(name), "quantization_config", None) is not None:
        return []  # 8bit and 4bit would quantise it a second time
    own = base_bytes(name, precision, on_gpu=True)
    return [each for each in get_args(Precision) if base_bytes(name, each, on_gpu=True) < own]


def _on_fullest(name: str, precision: Precision, count: int) -> str:
    size = fullest_part(name, precision, on_gpu=True, num_gpus=count).num_bytes / _GIB
    held = "" if precision == "default" else f" in {precision}"
    return f"{size:.1f} GiB{held}"
