"""A base divided over two GPUs, or over a CPU and its disk, against the same base in one piece."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from sweeps.gpu_check.finding import Finding, at_most, skipped
from sweeps.gpu_check.numerics import packed_gradients
from sweeps.gpu_check.packs import RESUME_BOUND
from sweeps.gpu_check.world import LABELS, SLIDING, TARGET, CheckWorld, Where, distance

BOUND = 1e-5
"""Of a gradient's norm in fp32: each layer computes what it computes in one piece. On GPUs bases are in bf16:
there it is `RESUME_BOUND`, or twice what two equal steps differ by, because sums have no fixed order."""


def check_division(world: CheckWorld) -> Iterator[Finding]:
    """A step of every kind of learner on the divided base, beside the same step on the whole one."""
    if world.is_gpu and world.workers < 2:
        yield skipped("a base divided over two GPUs", world.lone_worker)
        return
    where = "two GPUs" if world.is_gpu else "memory and disk"
    for base in (TARGET, SLIDING):
        place: Where = "own" if world.is_gpu else "fp32"
        whole = packed_gradients(world, LABELS, place, base)
        bound = BOUND
        if world.is_gpu:
            bound = max(RESUME_BOUND, 2 * _apart(packed_gradients(world, LABELS, place, base), whole))
        apart = _apart(packed_gradients(world, LABELS, "divided", base), whole)
        what = f"{base}, divided over {where}: gradient of a step off that on the whole base"
        yield at_most(what, apart, bound, unit="of its norm")


def _apart(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The most that gradients of any learner differ by."""
    return max(distance(ours[label], theirs[label]) for label in LABELS)
