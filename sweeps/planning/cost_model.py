"""What a pack is predicted to take on a device, beside one run at a time: memory, disk, operations, hours.

Steps are planned as they will be, on sampled rows. What tokens and launches take is a model with constants of
some machine: without the device's pace.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch

from portal.bases.operations import Operations, usual_operations
from portal.bases.precision import weights_dtype
from portal.config import Activations, RunConfig
from portal.device import ATTAINED, GpuRates, rates_of
from portal.evaluate.loglikelihood import MAX_TOKENS
from portal.forward.microbatch import (
    FLOPS_PER_PARAM_TOKEN,
    LAYER_LAUNCHES,
    MAX_FORWARD_TOKENS,
    MODULE_LAUNCHES,
    LaunchCost,
    bucket_length,
    cpu_launch_cost,
    gpu_launch_cost,
)
from portal.forward.output_head import SLICE_COLUMNS
from portal.storage.checkpoint import KEEP
from portal.train_config import Fp32Products
from portal.training.worker_group import Sharding
from sweeps.planning.devices import Device
from sweeps.planning.memory import (
    Footprint,
    base_bytes,
    count_params,
    decoder_shape,
    footprint,
    fullest_part,
    generation_flops,
    kept_values_per_token,
    precision_of,
    shared_params,
)
from sweeps.planning.workload import Work, sample_step
from sweeps.study.study_file import WorkersPerPack

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


_FP32 = 4
_MOMENTS = 2  # of AdamW, beside each trained number
_SCORE_BYTES = 16
"""Compressed bytes per scored example and evaluation; 4 to 25 were measured."""


def kept_bytes(run: RunConfig, work: Work) -> float:
    """Bytes of a finished run: its artifact and its tables."""
    return artifact_bytes(run) + _SCORE_BYTES * work.scored_rows * len(run.bases)


def artifact_bytes(run: RunConfig) -> float:
    """Bytes of the run's artifacts, one for each base."""
    params = [count_params(run, ref.name) for ref in run.bases]
    return _FP32 * sum(each.trained + each.held for each in params)


def checkpoint_bytes(runs: Sequence[RunConfig]) -> float:
    """Bytes of a pack's checkpoints when there are most of them: those kept and one being written."""
    return (KEEP + 1) * sum(map(saved_bytes, runs))


def saved_bytes(run: RunConfig) -> float:
    """Bytes of the run in one checkpoint, where what its bases share is once."""
    counted = sum(count_params(run, ref.name).trained for ref in run.bases)
    trained = counted - (len(run.bases) - 1) * shared_params(run)
    return _FP32 * trained * (1 + _MOMENTS + _keeps_best(run))


def _keeps_best(run: RunConfig) -> bool:
    """Whether its checkpoints hold the parameters of its best evaluation, too."""
    return run.train is not None and run.train.keep == "best_validation"


START_S = 30.0
"""Seconds until a new process can load a base: a Ray Train worker takes 20, then torch is imported."""
READ_BYTES_PER_S = 1e9
"""Rate at which a base's weights are read, from shared storage or a disk."""
_AMPLE_TOKENS = 4096  # a forward of so many gains little from more: packs are cut so that one fits


@dataclass(frozen=True)
class Execution:
    """How packs are run, which changes their memory and time, and no number that they learn."""

    activations: Activations = "keep"
    workers_per_pack: WorkersPerPack = 1

    def shardings(self, num_bases: int) -> list[Sharding]:
        """The parts of the workers that step a pack of so many bases together."""
        size = num_bases if self.workers_per_pack == "bases" else self.workers_per_pack
        return [Sharding(rank, size) for rank in range(size)]


PLAIN = Execution()


@dataclass(frozen=True)
class Forecast:
    """Bytes at the peak, FLOPs, and hours.

    `hours` are those of one worker that steps the pack, `hours_alone` those with every adapter or run in
    a process of its own, and `hours_in_lane` are how long the workers of a lane take together.
    """

    memory_bytes: float
    flops: float
    hours: float
    hours_alone: float
    hours_in_lane: float


def forecast(
    runs: Sequence[RunConfig], works: Sequence[Work], device: Device, how: Execution = PLAIN
) -> Forecast:
    """Predict the pack of these runs, given the work of each."""
    limits = forward_tokens(runs, works, device, how)
    memory = peak_memory(runs, works, device, how, max_tokens=limits)
    flops = alone = 0.0
    seconds: list[float] = []  # by base, without what every worker of a lane does
    of_learners: list[float] = []
    for base in dict.fromkeys(ref.name for run in runs for ref in run.bases):
        on_base = [(run, work) for run, work in zip(runs, works, strict=True) if _runs_on(run, base)]
        flops += sum(_flops(base, work) for _, work in on_base)
        own_runs, own_works = [run for run, _ in on_base], [work for _, work in on_base]
        pace = device.pace_in(precision_of(own_runs, base))
        of_learners.append(pace * learners_seconds(own_runs, own_works, base, device))
        most = limits.get(base, MAX_FORWARD_TOKENS)
        whole_s = _seconds(own_runs, own_works, base, device, how.activations, max_tokens=most)
        seconds.append(whole_s - of_learners[-1])
        starts_s = sum(START_S + load_seconds(run, device) for run, _ in on_base)
        alone += starts_s + sum(_seconds_alone(run, work, base, device, how) for run, work in on_base)
    ending_s = sum(ending_seconds(run, device) for run in runs)
    of_all = sum(of_learners) + ending_s
    return Forecast(
        memory,
        flops,
        hours=(sum(seconds) + of_all) / 3600,
        hours_alone=(alone + ending_s) / 3600,
        hours_in_lane=(_seconds_of_slowest(seconds, how) + of_all) / 3600,
    )


def _seconds_of_slowest(seconds: Sequence[float], how: Execution) -> float:
    """What the worker of a lane takes that has the most to do, of the seconds that each base takes."""
    count, workers = len(seconds), how.shardings(len(seconds))
    shares = [
        each / sum(worker.holds(place, count) for worker in workers) for place, each in enumerate(seconds)
    ]
    return max(
        sum(share for place, share in enumerate(shares) if worker.holds(place, count)) for worker in workers
    )


def load_seconds(run: RunConfig, device: Device) -> float:
    """Seconds to read the weights of the run's bases."""
    weights = sum(base_bytes(ref.name, ref.precision, on_gpu=device.is_gpu) for ref in run.bases)
    return weights / READ_BYTES_PER_S


def ending_seconds(run: RunConfig, device: Device) -> float:
    """Seconds in which the run waits at its end until its last checkpoint and its artifacts are on the disk.

    Checkpoints before that stop training for a copy only, and those that hold others of its pack once more,
    because these end later, are not counted.
    """
    return (saved_bytes(run) + artifact_bytes(run)) / device.write_bytes_per_s


def duration(hours: float) -> str:
    """Hours as people read them: `41 s`, `5.2 min`, `3.4 h`."""
    seconds = 3600 * hours
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if hours < 1 else f"{hours:.1f} h"


def peak_memory(
    runs: Sequence[RunConfig],
    works: Sequence[Work],
    device: Device,
    how: Execution = PLAIN,
    *,
    max_tokens: Mapping[str, int] | None = None,
) -> float:
    """Peak bytes of a pack: every base it needs, all its learners, and its largest forward.

    `max_tokens` limits a training forward by base; without it they are ample, not as large as can be. Scoring
    is counted with its logits, a transfer with both of its bases.
    """
    length, prints = _footprints(runs, works, device, how)
    rows = sum(work.rows_per_step for work in works)
    answers = max(work.answer_tokens for work in works) / length
    scored = MAX_TOKENS * max(work.scored_answer_share for work in works)
    forward = 0.0
    for base, each in prints.items():
        most = _AMPLE_TOKENS if max_tokens is None else max_tokens.get(base, MAX_FORWARD_TOKENS)
        tokens = min(rows * length, max(most, length))
        training = each.per_token * tokens + each.per_answer_token * tokens * answers
        forward = max(forward, training, each.scoring(scored))
    fixed = _fixed_bytes(prints, how)
    return max(fixed + forward, fixed + _source_bytes(runs, device))


def _source_bytes(runs: Sequence[RunConfig], device: Device) -> float:
    """Bytes of the bases whose LoRAs are carried over, while that is done."""
    sources = {run.source_bases[0]: run for run in runs if run.spec.is_transfer and run.source_bases}
    part = partial(fullest_part, on_gpu=device.is_gpu, num_gpus=device.num_gpus)
    return sum(part(name, run.bases[0].precision).num_bytes for name, run in sources.items())


def forward_tokens(
    runs: Sequence[RunConfig], works: Sequence[Work], device: Device, how: Execution = PLAIN
) -> dict[str, int]:
    """The most padded tokens of one forward on each base that the device's memory leaves room for."""
    length, prints = _footprints(runs, works, device, how)
    answers = max(work.answer_tokens for work in works) / length
    free = device.budget_bytes - _fixed_bytes(prints, how)
    return {
        base: max(1, min(MAX_FORWARD_TOKENS, each.tokens_that_fit(free + each.fixed, answers)))
        for base, each in prints.items()
        if each.per_token
    }


def _footprints(
    runs: Sequence[RunConfig], works: Sequence[Work], device: Device, how: Execution
) -> tuple[int, dict[str, Footprint]]:
    """(length of a typical row, footprint by base)."""
    length = bucket_length(max(1, round(max(work.row_tokens for work in works))))
    bases = dict.fromkeys(ref.name for run in runs for ref in run.bases)
    return length, {
        base: footprint(
            [run for run in runs if _runs_on(run, base)],
            base,
            length=length,
            on_gpu=device.is_gpu,
            activations=how.activations,
            num_gpus=device.num_gpus,
        )
        for base in bases
    }


def _fixed_bytes(prints: Mapping[str, Footprint], how: Execution) -> float:
    """Bytes independent of batch size on the fullest worker: all learners, plus the bases that it holds."""
    count = len(prints)
    bases = (
        sum(each.base for place, each in enumerate(prints.values()) if worker.holds(place, count))
        for worker in how.shardings(count)
    )
    return max(bases) + sum(each.learners for each in prints.values())


def _runs_on(run: RunConfig, base: str) -> bool:
    return base in (ref.name for ref in run.bases)


def _flops(base: str, work: Work) -> float:
    params = decoder_shape(base).active_params
    trained = work.steps * work.rows_per_step * work.row_tokens
    forward_only = work.scored_tokens + work.read_tokens + work.written_tokens
    return params * (FLOPS_PER_PARAM_TOKEN * trained + FLOPS_PER_PARAM_TOKEN / 2 * forward_only)


def _seconds(
    runs: Sequence[RunConfig],
    works: Sequence[Work],
    base: str,
    device: Device,
    activations: Activations = "keep",
    *,
    max_tokens: int = MAX_FORWARD_TOKENS,
) -> float:
    """Seconds of the longest learner's steps, of scoring, and of writing answers, at the device's pace."""
    precision, steps = precision_of(runs, base), max(work.steps for work in works)
    scoring = device.scoring_pace_in(precision) * scoring_seconds(runs, works, base, device)
    if not steps:
        return scoring
    step_s = step_seconds(runs, works, base, device, activations, max_tokens=max_tokens)
    return scoring + device.pace_in(precision) * steps * step_s


def _seconds_alone(run: RunConfig, work: Work, base: str, device: Device, how: Execution) -> float:
    """Seconds of a run in a process of its own, once it has its bases; its LoRAs one after another."""
    parts = work.tasks if run.spec.per_task else 1
    one = work
    if parts > 1:
        one = replace(
            work,
            rows_per_step=work.rows_per_step / parts,
            tasks=1,
            scored_tokens=work.scored_tokens / parts,
            scored_sets=tuple(replace(each, times=each.times / parts) for each in work.scored_sets),
            read_tokens=work.read_tokens / parts,
            written_tokens=work.written_tokens / parts,
            writing_forwards=work.writing_forwards / parts,
            lengths=(),  # of all tasks: a mean row stands for each of them
        )
    pace = device.pace_in(precision_of([run], base))
    updates = pace * updating_seconds(run, one, base, device)  # each part updates its own numbers only
    most = forward_tokens([run], [one], device, how).get(base, MAX_FORWARD_TOKENS)
    whole_s = _seconds([run], [one], base, device, how.activations, max_tokens=most)
    return parts * (whole_s - updates) + updates
