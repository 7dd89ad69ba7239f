"""A base divided over two GPUs, or over a CPU and its disk, against the same base in one piece."""

from collections.abc import Iterator

from sweeps.gpu_check.finding import Finding, at_most, skipped
from sweeps.gpu_check.numerics import packed_gradients
from sweeps.gpu_check.world import LABELS, SLIDING, TARGET, CheckWorld, distance

BOUND = 1e-5
"""Of a gradient's norm: each layer computes what it computes in one piece."""


def check_division(world: CheckWorld) -> Iterator[Finding]:
    """A step of every kind of learner on the divided base, beside the same step on the whole one."""
    if world.is_gpu and world.workers < 2:
        yield skipped("a base divided over two GPUs", world.lone_worker)
        return
    where = "two GPUs" if world.is_gpu else "memory and disk"
    for base in (TARGET, SLIDING):
        whole = packed_gradients(world, LABELS, "own" if world.is_gpu else "fp32", base)
        divided = packed_gradients(world, LABELS, "divided", base)
        apart = max(distance(divided[label], whole[label]) for label in LABELS)
        what = f"{base}, divided over {where}: gradient of a step off that on the whole base"
        yield at_most(what, apart, BOUND, unit="of its norm")
