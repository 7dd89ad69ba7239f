"""The device that tests of GPUs check: a GPU that they may see, else this CPU; bounds that warn or fail."""

import warnings
from typing import Any

import torch

from portal.bases.base import Base, load_base, quantised_base, with_fused_operations
from portal.training.pack import SYNC_STEPS, Pack
from sweeps.gpu_check.world import CheckWorld
from tests.support.environment import gpu_allowed
from tests.support.offload import divide_over_disk

DEVICE = "cuda" if gpu_allowed() else "cpu"


class DeviceWorld(CheckWorld):
    """The world of gpu-check with bases in more places: plain, in 8 and 4 bits, divided over two places."""

    @property
    def gpus(self) -> list[torch.device]:
        """Those that are checked."""
        return [torch.device("cuda", number) for number in range(self.workers)] if self.is_gpu else []

    def load(self, name: str, where: Any) -> Base:
        if where in ("8bit", "4bit"):
            return quantised_base(name, where, self.device)
        if where == "plain":
            precision = self.own_precision
            assert precision is not None
            return load_base(name, device=str(self.device), precision=precision, operations="plain")
        if where != "divided":
            return super().load(name, where)
        if self.is_gpu:
            return load_base(name, device="cuda", operations="fused", num_gpus=2)
        base = with_fused_operations(load_base(name, operations="plain"))
        divide_over_disk(base, self.scratch / f"offloaded-{name}")
        return base


def hold(what: str, value: float, most: float, *, warn_above: float | None = None) -> None:
    """Fail above `most`, or for what is no number; warn above the other bound. The value is printed."""
    print(f"{what}: {value:.3g} (at most {most:g})")
    assert value <= most, f"{what}: {value:.3g} is above {most:g}"
    if warn_above is not None:
        expect(what, value, at_most=warn_above)


def expect(what: str, value: float, *, at_most: float | None = None, at_least: float | None = None) -> None:
    """Warn where the value, which is printed, is beyond a bound, or no number."""
    print(f"{what}: {value:.3g}")
    if not ((at_most is None or value <= at_most) and (at_least is None or value >= at_least)):
        bound = f"above {at_most:g}" if at_most is not None else f"below {at_least:g}"
        warnings.warn(f"{what}: {value:.3g} is {bound}", stacklevel=2)


def first_wait(pack: Pack) -> str:
    """What torch says of the first operation that waits for the GPU, after a pack's first step and until it
    looks at the device of its own accord; nothing where none waits.
    """
    pack.step()  # the first one settles limits and allocates
    pack.sync_metrics()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(SYNC_STEPS - 2):
            pack.step()
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""
