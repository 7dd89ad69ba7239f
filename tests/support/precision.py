"""CPUs with and without instructions for bf16, and tiny bases and runs in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from portal.bases import precision
from portal.bases.base import Base, with_operations
from portal.config import RunConfig
from tests.support.bases import make_base

needs_bf16 = pytest.mark.skipif(
    not precision.cpu_has_bf16(),
    reason="this machine's CPU has neither AVX512-BF16 nor AMX-BF16, or PORTAL_CPU_BF16=0 denies it",
)


@contextmanager
def cpu_with(*flags: str) -> Iterator[None]:
    """Within the block torch and Linux tell these flags of the CPU, and any speed in bf16 will do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "BF16_GAIN", 0.0)
        patch.delenv(precision.BF16_SWITCH, raising=False)
        patch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(flags, True), raising=False)
        patch.setattr(precision, "_CPUINFO", Path("/nowhere"))
        _forget()
        yield
    _forget()


def _forget() -> None:
    precision.cpu_has_bf16.cache_clear()
    precision.cpu_bf16_gain.cache_clear()


def in_bf16(base: Base) -> Base:
    """The base with its weights rounded, and its operations as they are."""
    base.model.to(torch.bfloat16)
    return base


def make_bf16_base(name: str, family: str, **sizes: int) -> Base:
    """A base in bf16 as `load_base` gives it, with the operations that are usual there."""
    return with_operations(in_bf16(make_base(name, family, **sizes)))


def copy_in_fp32(base: Base) -> Base:
    """A copy whose weights are the rounded ones in fp32."""
    import copy

    return replace(base, model=copy.deepcopy(base.model).float())


def run_in_bf16(run: RunConfig) -> RunConfig:
    """The run with all of its bases in bf16."""
    return run.model_copy(
        update={"bases": tuple(ref.model_copy(update={"precision": "bf16"}) for ref in run.bases)}
    )
