"""What a pack is predicted to take on a device: memory, operations, hours; packed, and one run at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from portal.config import Activations, RunConfig
from portal.evaluate.loglikelihood import MAX_TOKENS
from portal.forward.length_buckets import bucket_length
from portal.forward.microbatch_plan import FLOPS_PER_PARAM_TOKEN, MAX_FORWARD_TOKENS
from portal.training.worker_group import Sharding
from sweeps.planning.devices import Device
from sweeps.planning.disk_space import artifact_bytes, saved_bytes
from sweeps.planning.memory import Footprint, base_bytes, decoder_shape, footprint, fullest_part, precision_of
from sweeps.planning.step_time import learners_seconds, scoring_seconds, step_seconds, updating_seconds
from sweeps.planning.workload import Work
from sweeps.study.study_file import WorkersPerPack

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
