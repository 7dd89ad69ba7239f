"""What steps, scoring and writing are predicted to take: products, launches, and all that is beside them.

Steps are planned as they will be, on sampled rows. What tokens and launches take is a model with constants of
some machine: without the device's pace.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from portal.bases.operations import Operations, usual_operations
from portal.bases.precision import weights_dtype
from portal.config import Activations, RunConfig
from portal.device_rates import ATTAINED, GpuRates, rates_of
from portal.forward.microbatch_plan import (
    FLOPS_PER_PARAM_TOKEN,
    LAYER_LAUNCHES,
    MAX_FORWARD_TOKENS,
    MODULE_LAUNCHES,
    LaunchCost,
    cpu_launch_cost,
    gpu_launch_cost,
)
from portal.forward.output_head import SLICE_COLUMNS
from portal.train_config import Fp32Products
from sweeps.planning.devices import Device
from sweeps.planning.memory import (
    count_params,
    decoder_shape,
    generation_flops,
    kept_values_per_token,
    precision_of,
    shared_params,
)
from sweeps.planning.planned_step import sample_step
from sweeps.planning.workload import Work

_GPU_ATTAINED: dict[Operations, float] = {"plain": 0.35, "fused": ATTAINED}
"""Share of a GPU's peak rate that a whole layer reaches, with all that it does beside large products: by
count of the bytes that its operations read and write on an H100 and a B200."""
_SCORED_VALUES = 0.4
"""Of what a step does beside large products, the part that two scored tokens take: nothing is kept there for
gradients, and none are made."""
_SCORED_LAUNCHES = 0.4  # of those of a step's forward and backward


@dataclass(frozen=True)
class _LogitBytes:
    """Bytes that a CPU reads and writes for a logit beside products of the head.

    In a forward fp32 logits are written, and read and written by the softmax; from a base in bf16 they are
    the sum of two products that are written, read and widened first. Backwards they are read and written once
    more with their gradient, which is rounded for a base in bf16. Where slices of the vocabulary are scored,
    caches hold the logits.
    """

    forward: int
    backward: int
    sliced: int


_LOGIT_BYTES = {torch.float32: _LogitBytes(12, 16, 4), torch.bfloat16: _LogitBytes(46, 18, 15)}
"""Counted but for 16 of the 46, as the kernel clears new logits' pages, and for those of slices: a third
of a forward's, timed beside it for 160 positions of the heads of SmolLM2-135M and Gemma-3-270M."""
_RECOMPUTED: dict[Activations, float] = {"keep": 1.0, "recompute": 1.5}  # forwards and backwards cost alike
_GENERATIONS = 3
"""A step's passes over the hypernetwork: forwards, and backwards to its parameters and to its inputs."""
_UPDATED_BYTES = 40
"""Read and written for each trained number in a step: AdamW reads it, its gradient and both moments, and
writes three of them; clipping reads the gradient twice and writes it."""


def step_seconds(
    runs: Sequence[RunConfig],
    works: Sequence[Work],
    base: str,
    device: Device,
    activations: Activations = "keep",
    *,
    max_tokens: int = MAX_FORWARD_TOKENS,
) -> float:
    """Seconds of a mean step of the pack's rows on `base`, from the hypernetworks to their new parameters.

    `max_tokens` limits a forward's padded tokens.
    """
    _, per_answer = _token_seconds(runs, base, device)
    steps = max(work.steps for work in works)
    forwards = _RECOMPUTED[activations] * forwards_seconds(runs, works, base, device, max_tokens=max_tokens)
    answers = sum(work.steps * work.rows_per_step * work.answer_tokens for work in works) / steps
    return forwards + answers * per_answer + learners_seconds(runs, works, base, device) / steps


def forwards_seconds(
    runs: Sequence[RunConfig],
    works: Sequence[Work],
    base: str,
    device: Device,
    *,
    max_tokens: int = MAX_FORWARD_TOKENS,
) -> float:
    """Seconds of a mean step's forwards and backwards through the base, without logits and hypernetworks.

    Runs with fewer steps leave the pack before the others: what is left of it is planned anew.
    """
    ends = sorted({work.steps for work in works if work.steps})
    total = 0.0
    for start, end in pairwise((0, *ends)):
        left = [work for work in works if work.steps >= end]
        total += (end - start) * _forwards_together(runs, left, base, device, max_tokens)
    return total / ends[-1]


def scoring_seconds(runs: Sequence[RunConfig], works: Sequence[Work], base: str, device: Device) -> float:
    """Seconds of all scoring of these runs on `base`, and of writing answers."""
    per_token = _read_token_seconds(runs, base, device)
    per_scored, per_written = (
        _read_logits_seconds(runs, base, device, is_scored=is_scored) for is_scored in (True, False)
    )
    each_s, cost = _scored_forward_seconds(runs, base, device), _launch_cost(base, 0, device).forward / 2
    computed = launched = 0.0
    for work in works:
        forwards, padding = scored_forwards(work, cost)
        computed += work.scored_tokens * (padding * per_token + work.scored_answer_share * per_scored)
        launched += forwards * each_s
    # Writing reads prompts, and then takes a token of every row of a batch in a forward.
    read = sum(work.read_tokens + work.written_tokens for work in works)
    written = sum(work.written_tokens for work in works)
    read_s = read * per_token + written * per_written
    begun_s = each_s * sum(work.writing_forwards for work in works)
    if device.is_gpu:
        return max(computed, launched) + max(read_s, begun_s)
    return computed + launched + read_s + begun_s


def scored_forwards(work: Work, forward_cost: float) -> tuple[float, float]:
    """Forwards of a run's scoring where one costs so many tokens, and its padded tokens per real one."""
    layouts = [(each.times, each.layout(forward_cost)) for each in work.scored_sets]
    forwards = math.fsum(times * layout.forwards for times, layout in layouts)
    tokens = math.fsum(times * layout.tokens for times, layout in layouts)
    padded = math.fsum(times * layout.padded_tokens for times, layout in layouts)
    return forwards, padded / tokens if tokens else 1.0


def learners_seconds(runs: Sequence[RunConfig], works: Sequence[Work], base: str, device: Device) -> float:
    """Seconds of the hypernetworks' passes in training and of the optimisers, on every worker of a lane."""
    return sum(
        work.steps
        * (_GENERATIONS * generation_flops(run, base) / (ATTAINED * device.hypernet_rate(_products(run))))
        + updating_seconds(run, work, base, device)
        for run, work in zip(runs, works, strict=True)
    )


def updating_seconds(run: RunConfig, work: Work, base: str, device: Device) -> float:
    """Seconds of the run's optimiser; what all bases share is updated once, with the first."""
    counts = count_params(run, base)
    trained = counts.trained if base == run.bases[0].name else counts.trained - shared_params(run)
    return work.steps * _UPDATED_BYTES * trained / device.bytes_per_s


def _forwards_together(
    runs: Sequence[RunConfig], works: Sequence[Work], base: str, device: Device, max_tokens: int
) -> float:
    """The same of a step in which all these take part.

    A CPU launches and computes in turns. A GPU does both at once: its step takes as long as its padded tokens
    or its launches, whichever take longer.
    """
    cost = _launch_cost(base, _num_modules(runs), device)
    step = sample_step(works, cost, on_gpu=device.is_gpu, max_tokens=max_tokens)
    per_token, _ = _token_seconds(runs, base, device)
    tokens = sum(work.rows_per_step * work.row_tokens for work in works)
    padded = per_token * tokens * step.padding
    launches = step.launches / cost.forward * _launch_seconds(runs, base, device)
    if device.is_gpu:
        return max(padded, launches)
    return padded + launches + step.forwards * _weights_seconds(runs, base, device)


def _launch_cost(base: str, modules: int, device: Device) -> LaunchCost:
    """What a worker on this device plans forwards with, of a base with so many adapted modules per layer."""
    if not device.is_gpu:
        return cpu_launch_cost(modules)
    shape, own = decoder_shape(base), GpuRates(device.flops, device.launch_s)
    rates = rates_of(device.name, own.rounded)
    return gpu_launch_cost(rates, shape.layers, shape.active_params, modules, _counted(device))


def _token_seconds(runs: Sequence[RunConfig], base: str, device: Device) -> tuple[float, float]:
    """Seconds of a token, and of an answer's token beside that, forwards and backwards."""
    moved = _logit_bytes(runs, base, device)
    products = sum(_head_products(runs, base, device))
    logits_s = _logits_seconds(runs, base, device, products, moved.forward + moved.backward)
    return sum(_parts(runs, base, device)), logits_s


def _read_token_seconds(runs: Sequence[RunConfig], base: str, device: Device) -> float:
    """Seconds of a token that is scored, or read, or written, without logits: forwards only."""
    products_s, values_s = _parts(runs, base, device)
    return (products_s + _SCORED_VALUES * values_s) / 2


def _read_logits_seconds(runs: Sequence[RunConfig], base: str, device: Device, *, is_scored: bool) -> float:
    """Seconds of all logits of a token of an answer that is scored, or written."""
    moved = _logit_bytes(runs, base, device)
    is_sliced = is_scored and decoder_shape(base).vocabulary > SLICE_COLUMNS
    forward, _ = _head_products(runs, base, device)
    return _logits_seconds(runs, base, device, forward, moved.sliced if is_sliced else moved.forward)


def _parts(runs: Sequence[RunConfig], base: str, device: Device) -> tuple[float, float]:
    """Seconds of a token's forward and backward: in products of large matrices, and beside them on a CPU."""
    rate = _products_rate(runs, base, device)
    values = 0.0 if device.is_gpu else kept_values_per_token(runs, base)
    return FLOPS_PER_PARAM_TOKEN * decoder_shape(base).active_params / rate, device.value_s * values


def _logits_seconds(runs: Sequence[RunConfig], base: str, device: Device, products: int, moved: int) -> float:
    """Seconds of a token's logits, with so many products of the head, each moving so many bytes."""
    shape, rate = decoder_shape(base), _products_rate(runs, base, device)
    return shape.vocabulary * (2 * products * shape.width / rate + moved / device.bytes_per_s)


def _products_rate(runs: Sequence[RunConfig], base: str, device: Device) -> float:
    """FLOP/s that products of the base's matrices attain."""
    attained = _GPU_ATTAINED[_counted(device)] if device.is_gpu else ATTAINED
    return attained * device.rate(precision_of(runs, base))


def _logit_bytes(runs: Sequence[RunConfig], base: str, device: Device) -> _LogitBytes:
    """A GPU has none: products of the head take longer."""
    if device.is_gpu:
        return _LogitBytes(0, 0, 0)
    return _LOGIT_BYTES[weights_dtype(precision_of(runs, base), on_gpu=False)]


def _head_products(runs: Sequence[RunConfig], base: str, device: Device) -> tuple[int, int]:
    """Products of the head forwards and backwards: a CPU makes fp32 logits of bf16 weights out of two."""
    dtype = weights_dtype(precision_of(runs, base), on_gpu=device.is_gpu)
    return (2 if dtype == torch.bfloat16 and not device.is_gpu else 1), 1


def _launch_seconds(runs: Sequence[RunConfig], base: str, device: Device) -> float:
    """Seconds of the launches of a forward and its backward."""
    of_layer = LAYER_LAUNCHES[_counted(device)] + MODULE_LAUNCHES * _num_modules(runs)
    return decoder_shape(base).layers * of_layer * device.launch_s


def _weights_seconds(
    runs: Sequence[RunConfig], base: str, device: Device, *, has_backward: bool = True
) -> float:
    """Seconds in which a CPU reads the weights for a forward, and for its backward, however few rows.

    Of a mixture's experts it reads all, as the tokens of a training step meet nearly all of them.
    """
    shape, dtype = decoder_shape(base), weights_dtype(precision_of(runs, base), on_gpu=False)
    forward, backward = _head_products(runs, base, device)
    heads, layers = (forward + backward, 2) if has_backward else (forward, 1)
    numbers = layers * shape.params + heads * shape.vocabulary * shape.width
    return numbers * dtype.itemsize / device.bytes_per_s


def _scored_forward_seconds(runs: Sequence[RunConfig], base: str, device: Device) -> float:
    """Seconds of a forward that is no step's, beside what its tokens take."""
    launches = _SCORED_LAUNCHES * _launch_seconds(runs, base, device)
    return launches if device.is_gpu else launches + _weights_seconds(runs, base, device, has_backward=False)


def _counted(device: Device) -> Operations:
    """The operations whose launches count: on a CPU torch takes a fused norm apart into a plain one's."""
    return usual_operations(torch.bfloat16, on_gpu=True) if device.is_gpu else "plain"


def _num_modules(runs: Sequence[RunConfig]) -> int:
    """The most modules of a layer that a run of the pack adapts."""
    return max((len(run.adapter.modules) for run in runs if run.adapter is not None), default=0)


def _products(run: RunConfig) -> Fp32Products:
    return "fp32" if run.train is None else run.train.hypernet_products
