"""Products of a base's own matrices beside large ones, which plans take them to be as fast as."""

from collections import Counter
from collections.abc import Iterator
from functools import partial

from torch.nn.functional import linear

from portal.device import ATTAINED, random_matrix, seconds_each
from sweeps.gpu_check.finding import Finding, at_least
from sweeps.gpu_check.shape import ShapeWorld
from sweeps.planning.devices import Device

BOUND = 0.6
"""Of the rate of large products: below, matrices are too small for the device, or kernels are missing."""
_ROWS = {"cuda": 2048, "cpu": 512}
"""Tokens of a forward, as steps have them."""
_COUNT = {"cuda": 100, "cpu": 2}
_TRIES = 3
"""Times that products are measured: the best of them is least disturbed by what others do."""


def check_products(world: ShapeWorld, device: Device, what: str) -> Iterator[Finding]:
    """The line of the products of a forward's tokens with all matrices of all layers."""
    base = world.base
    shapes = Counter((site.d_out, site.d_in) for site in base.sites)
    rows = _ROWS[base.device.type]
    seconds = 0.0
    for (d_out, d_in), count in shapes.items():
        weight_OI = random_matrix(d_out, d_in, base.model.dtype, base.device)
        x_TI = random_matrix(rows, d_in, base.model.dtype, base.device)
        multiply = partial(linear, x_TI, weight_OI)
        turns = (seconds_each(multiply, _COUNT[base.device.type], base.device) for _ in range(_TRIES))
        seconds += count * min(turns)
    flops = 2 * rows * sum(d_out * d_in * count for (d_out, d_in), count in shapes.items())
    large = ATTAINED * device.rate("bf16" if world.is_halved else "default")
    line = f"{what}: rate of its matrices' products over that of large ones"
    note = "steps take longer than a plan without a pace says"
    yield at_least(line, flops / seconds / large, BOUND, otherwise="WARN", note=note)
