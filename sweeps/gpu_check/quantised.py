"""Quantised bases: where they are adapted, how far their gradients are off, and that rows keep apart."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Literal

from torch.nn.functional import cosine_similarity

from portal.bases.base import Base
from sweeps.gpu_check.finding import Finding, at_least, at_most, skipped
from sweeps.gpu_check.packs import first_wait
from sweeps.gpu_check.world import TARGET, CheckWorld, distance, gradient

PRECISIONS: tuple[Literal["8bit", "4bit"], ...] = ("8bit", "4bit")
COSINE_BOUND = 0.9
"""Of gradients on a quantised base with those on its whole weights, which are other ones, if near."""
PACK_BOUND = 0.01
"""Of a gradient's norm, beside companions or alone: products of other sizes round in another way in bf16."""

_READ_BOUND = 0.99
"""Cosine of weights in 4 bits with those that were quantised: 0.996 where they are read right."""


def check_quantised(world: CheckWorld) -> Iterator[Finding]:
    """A base in 8 and in 4 bits by bitsandbytes, where that is installed."""
    if find_spec("bitsandbytes") is None:
        yield skipped("bases in 8 and 4 bits", "bitsandbytes is not installed (the extra 'quantised')")
        return
    for precision in PRECISIONS:
        yield from _check(world, precision)


def misread_weights(base: Base, whole: Base) -> list[str]:
    """Paths of linear layers whose 4-bit weights are read as others than those that were quantised.

    Vectorised code of some CPUs takes blocks to end with a row.
    """
    from bitsandbytes.functional import dequantize_4bit

    misread = []
    for site in base.sites:
        weight = base.model.get_submodule(site.path).weight
        read = dequantize_4bit(weight.data, weight.quant_state).float().flatten()
        given = whole.model.get_submodule(site.path).weight.flatten()
        if cosine_similarity(read, given, dim=0).item() < _READ_BOUND:
            misread.append(site.path)
    return misread


def _check(world: CheckWorld, precision: Literal["8bit", "4bit"]) -> Iterator[Finding]:
    whole, base = world.base(TARGET, "fp32"), world.base(TARGET, precision)
    missing = len(whole.sites) - len(base.sites)
    yield at_most(f"{precision}: linear layers that cannot be adapted", missing, 0)
    miscounted = abs(base.num_decoder_params - whole.num_decoder_params)
    yield at_most(f"{precision}: weights that costs are not counted with", miscounted, 0)
    if missing:
        return  # gradients of fewer adapters have nothing to be held to
    if precision == "4bit" and not world.is_gpu and misread_weights(base, whole):
        yield skipped(
            "4bit: gradients",
            "on this CPU bitsandbytes reads 4-bit weights wrongly whose width is no multiple of a block; "
            "studies take 4 bits on GPUs only",
        )
        return
    plain, alone = world.pack(["lora"], "fp32"), world.pack(["lora"], precision)
    together = world.pack(["lora", "hypernet"], precision)
    for pack in (plain, alone, together):
        pack.step()
    cosine = cosine_similarity(gradient(alone.learners[0]), gradient(plain.learners[0]), dim=0).item()
    yield at_least(f"{precision}: cosine of a gradient with that on whole weights", cosine, COSINE_BOUND)
    apart = distance(gradient(together.learners[0]), gradient(alone.learners[0]))
    what = f"{precision}: gradient beside a companion off that alone"
    yield at_most(what, apart, PACK_BOUND, unit="of its norm")
    if world.is_gpu:
        wait = first_wait(world.pack(["lora"], precision))
        yield at_most(
            f"{precision}: steps that waited for the device", int(bool(wait)), 0, otherwise="WARN", note=wait
        )
