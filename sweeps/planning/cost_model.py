"""What a pack is predicted to take on a device: memory, operations, hours; packed, and one run at a time.

Steps are planned as they will be, on sampled rows. What tokens and launches take is a model with constants of
some machine; `Device.pace` corrects it by what this one was measured to take.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch

from portal.bases.operations import Operations, usual_operations
from portal.config import Activations, RunConfig
from portal.device_rates import ATTAINED, GpuRates, rates_of
from portal.evaluate.loglikelihood import MAX_TOKENS
from portal.forward.length_buckets import bucket_length
from portal.forward.microbatch_plan import (
    FLOPS_PER_PARAM_TOKEN,
    LAYER_LAUNCHES,
    MAX_FORWARD_TOKENS,
    MODULE_LAUNCHES,
    cpu_launch_cost,
    gpu_launch_cost,
)
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
    precision_of,
    shared_params,
)
from sweeps.planning.planned_step import sample_step
from sweeps.planning.workload import Work
from sweeps.study.study_file import WorkersPerPack

START_S = 30.0
"""Seconds until a new process can load a base: a Ray Train worker takes 20, then torch is imported."""
READ_BYTES_PER_S = 1e9
"""Rate at which a base's weights are read, from shared storage or a disk."""
_GPU_ATTAINED: dict[Operations, float] = {"plain": 0.35, "fused": ATTAINED}
"""Share of a GPU's peak rate that a whole layer reaches, with all that it does beside large products: by
count of the bytes that its operations read and write on an H100 and a B200."""
_SCORED_VALUES = 0.4
"""Of what a step does beside large products, the part that two scored tokens take: nothing is kept there for
gradients, and none are made."""
_SCORED_LAUNCHES = 0.4  # of those of a step's forward and backward
_FORWARDS_PER_SET = 1.5
_RECOMPUTED: dict[Activations, float] = {"keep": 1.0, "recompute": 1.5}  # forwards and backwards cost alike
_GENERATIONS = 3
"""A step's passes over the hypernetwork: forwards, and backwards to its parameters and to its inputs."""
_UPDATED_BYTES = 40
"""Read and written for each trained number in a step: AdamW reads it, its gradient and both moments, and
writes three of them; clipping reads the gradient twice and writes it."""
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
        of_learners.append(_learners_seconds(own_runs, own_works, base, device))
        seconds.append(_seconds(own_runs, own_works, base, device, how.activations) - of_learners[-1])
        alone += sum(_seconds_alone(run, work, base, device) for run, work in on_base)
    return Forecast(
        memory,
        flops,
        hours=device.pace * (sum(seconds) + sum(of_learners)) / 3600,
        hours_alone=device.pace * alone / 3600,
        hours_in_lane=device.pace * (_seconds_of_slowest(seconds, how) + sum(of_learners)) / 3600,
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
) -> float:
    """Seconds of the longest learner's steps (each its arithmetic or its launches), of the scoring, and of
    writing answers.
    """
    per_token, per_answer = _token_seconds(runs, base, device, beside_products=_SCORED_VALUES)
    scored_s = sum(
        work.scored_tokens * (per_token + work.scored_answer_share * per_answer) / 2 for work in works
    )
    launches_s = _forward_launches(runs, base, device) * _SCORED_LAUNCHES * sum(map(scored_forwards, works))
    scoring = max(scored_s, launches_s) if device.is_gpu else scored_s + launches_s
    scoring += _writing_seconds(runs, works, base, device)
    steps = max(work.steps for work in works)
    return scoring + (steps * step_seconds(runs, works, base, device, activations) if steps else 0.0)


def _writing_seconds(runs: Sequence[RunConfig], works: Sequence[Work], base: str, device: Device) -> float:
    """Seconds of reading prompts and of writing answers, a token of every row of a batch in a forward."""
    per_token, per_answer = _token_seconds(runs, base, device, beside_products=_SCORED_VALUES)
    tokens = sum(work.read_tokens + work.written_tokens for work in works)
    computed = (tokens * per_token + sum(work.written_tokens for work in works) * per_answer) / 2
    forwards = sum(work.written_forwards for work in works)
    launched = forwards * _forward_launches(runs, base, device) * _SCORED_LAUNCHES
    return max(computed, launched) if device.is_gpu else computed + launched


def step_seconds(
    runs: Sequence[RunConfig],
    works: Sequence[Work],
    base: str,
    device: Device,
    activations: Activations = "keep",
) -> float:
    """Seconds of a mean step of the pack's rows on `base`, from the hypernetworks to their new parameters."""
    _, per_answer = _token_seconds(runs, base, device)
    steps = max(work.steps for work in works)
    forwards = _RECOMPUTED[activations] * forwards_seconds(runs, works, base, device)
    answers = sum(work.steps * work.rows_per_step * work.answer_tokens for work in works) / steps
    return forwards + answers * per_answer + _learners_seconds(runs, works, base, device) / steps


def forwards_seconds(runs: Sequence[RunConfig], works: Sequence[Work], base: str, device: Device) -> float:
    """Seconds of a mean step's forwards and backwards through the base, without logits and hypernetworks.

    Runs with fewer steps leave the pack before the others: what is left of it is planned anew.
    """
    ends = sorted({work.steps for work in works if work.steps})
    total = 0.0
    for start, end in pairwise((0, *ends)):
        left = [work for work in works if work.steps >= end]
        total += (end - start) * _forwards_together(runs, left, base, device)
    return total / ends[-1]


def _forwards_together(runs: Sequence[RunConfig], works: Sequence[Work], base: str, device: Device) -> float:
    """The same of a step in which all these take part.

    A CPU launches and computes in turns. A GPU does both at once: its step takes as long as its padded tokens
    or its launches, whichever take longer.
    """
    shape, modules = decoder_shape(base), _num_modules(runs)
    cost = cpu_launch_cost(modules)
    if device.is_gpu:
        own = GpuRates(device.flops, device.launch_s)
        rates = rates_of(device.name, lambda: own).rounded()  # as a worker there plans with
        cost = gpu_launch_cost(rates, shape.layers, shape.active_params, modules, _counted(device))
    step = sample_step(works, cost, on_gpu=device.is_gpu)
    per_token, _ = _token_seconds(runs, base, device)
    tokens = sum(work.rows_per_step * work.row_tokens for work in works)
    padded = per_token * tokens * step.padding
    launches = step.launches / cost.forward * _forward_launches(runs, base, device)
    return max(padded, launches) if device.is_gpu else padded + launches


def _token_seconds(
    runs: Sequence[RunConfig], base: str, device: Device, *, beside_products: float = 1.0
) -> tuple[float, float]:
    """Seconds of a token, and of an answer's token beside that, forwards and backwards.

    A share of what is done beside the products of large matrices is counted.
    """
    shape, attained = decoder_shape(base), ATTAINED
    if device.is_gpu:
        attained = _GPU_ATTAINED[_counted(device)]
    rate = attained * device.rate(precision_of(runs, base))
    value_s = beside_products * (device.value_s + _num_modules(runs) * device.module_s)
    return (
        FLOPS_PER_PARAM_TOKEN * shape.active_params / rate + shape.layers * shape.width * value_s,
        shape.vocabulary * (FLOPS_PER_PARAM_TOKEN * shape.width / rate + beside_products * device.logit_s),
    )


def _forward_launches(runs: Sequence[RunConfig], base: str, device: Device) -> float:
    """Seconds of the launches of a forward and its backward."""
    of_layer = LAYER_LAUNCHES[_counted(device)] + MODULE_LAUNCHES * _num_modules(runs)
    return decoder_shape(base).layers * of_layer * device.launch_s


def _counted(device: Device) -> Operations:
    """The operations whose launches count: on a CPU torch takes a fused norm apart into a plain one's."""
    return usual_operations(torch.bfloat16, on_gpu=True) if device.is_gpu else "plain"


def scored_forwards(work: Work) -> float:
    """Forwards of a run's scoring: each set of rows takes one or two, by length, and more if it is large."""
    return max(_FORWARDS_PER_SET * work.scored_sets, work.scored_tokens / MAX_TOKENS)


def _num_modules(runs: Sequence[RunConfig]) -> int:
    """The most modules of a layer that a run of the pack adapts."""
    return max((len(run.adapter.modules) for run in runs if run.adapter is not None), default=0)


def _learners_seconds(runs: Sequence[RunConfig], works: Sequence[Work], base: str, device: Device) -> float:
    """Seconds of the hypernetworks' passes in training and of the optimisers, on every worker of a lane."""
    return sum(
        work.steps
        * (_GENERATIONS * generation_flops(run, base) / (ATTAINED * device.hypernet_rate(_products(run))))
        + _updating_seconds(run, work, base, device)
        for run, work in zip(runs, works, strict=True)
    )


def _updating_seconds(run: RunConfig, work: Work, base: str, device: Device) -> float:
    """Seconds of the run's optimiser; what all bases share is updated once, with the first."""
    counts = count_params(run, base)
    trained = counts.trained if base == run.bases[0].name else counts.trained - shared_params(run)
    return work.steps * _UPDATED_BYTES * trained / device.bytes_per_s


def _products(run: RunConfig) -> Fp32Products:
    return "fp32" if run.train is None else run.train.hypernet_products


def _seconds_alone(run: RunConfig, work: Work, base: str, device: Device) -> float:
    """Seconds of a run in a process of its own; its per-task LoRAs one after another."""
    parts = work.tasks if run.spec.per_task else 1
    one = work
    if parts > 1:
        one = replace(
            work,
            rows_per_step=work.rows_per_step / parts,
            tasks=1,
            scored_tokens=work.scored_tokens / parts,
            scored_sets=work.scored_sets / parts,
            read_tokens=work.read_tokens / parts,
            written_tokens=work.written_tokens / parts,
            written_forwards=work.written_forwards / parts,
            lengths=(),  # of all tasks: a mean row stands for each of them
        )
    start = START_S + load_seconds(run, device)
    updates = _updating_seconds(run, one, base, device)  # each part updates its own numbers only
    return start + parts * (_seconds([run], [one], base, device) - updates) + updates
