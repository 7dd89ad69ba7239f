"""What a pack is predicted to take on a device: memory, operations, hours; packed, and one run at a time.

A step takes the longer of its arithmetic and of its launches; both are models, to be read to one digit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from portal.config import RunConfig
from portal.devices import ATTAINED, Device
from portal.forward import bucket_length
from portal.learner import FLOPS_PER_PARAM_TOKEN
from portal.memory import decoder_shape, footprint
from portal.pack import MAX_FORWARD_TOKENS

START_S = 60.0
"""Seconds to start a process and load a base, which a run alone pays each time."""
_LAYER_LAUNCHES, _MODULE_LAUNCHES = 127, 15
"""Operations a layer, both ways, without adapters and for each adapted module (counted on eager torch)."""
_ANSWER_TOKENS = 4  # of a row: generous for the tasks at hand


@dataclass(frozen=True)
class Work:
    """A run's training and scoring, counted. `rows_per_step` are those of all its tasks together."""

    steps: int
    rows_per_step: float
    tasks: int
    row_tokens: float
    scored_tokens: float


@dataclass(frozen=True)
class Forecast:
    """Bytes at the peak, FLOPs, and hours of one device: as packed, and with every adapter or run alone."""

    memory_bytes: float
    flops: float
    hours: float
    hours_alone: float


def forecast(runs: Sequence[RunConfig], works: Sequence[Work], device: Device) -> Forecast:
    """For the runs of one pack, with the work of each."""
    memory = packed_memory(runs, works, device)
    flops = seconds = alone = 0.0
    for base in dict.fromkeys(ref.name for run in runs for ref in run.bases):
        on_base = [(run, work) for run, work in zip(runs, works, strict=True) if _runs_on(run, base)]
        flops += sum(_flops(base, work) for _, work in on_base)
        seconds += _seconds([run for run, _ in on_base], [work for _, work in on_base], base, device)
        alone += sum(_seconds_alone(run, work, base, device) for run, work in on_base)
    return Forecast(memory, flops, seconds / 3600, alone / 3600)


def duration(hours: float) -> str:
    """For people: `41 s`, `5.2 min`, `3.4 h`."""
    seconds = 3600 * hours
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if hours < 1 else f"{hours:.1f} h"


def packed_memory(runs: Sequence[RunConfig], works: Sequence[Work], device: Device) -> float:
    """Peak bytes of a pack: every base it needs, all its learners, and its largest forward."""
    length = bucket_length(max(1, round(max(work.row_tokens for work in works))))
    rows = sum(work.rows_per_step for work in works)
    tokens = min(rows * length, max(MAX_FORWARD_TOKENS, length))
    prints = [
        footprint([run for run in runs if _runs_on(run, base)], base, length=length, on_gpu=device.is_gpu)
        for base in dict.fromkeys(ref.name for run in runs for ref in run.bases)
    ]
    forward = max(
        each.peak(round(tokens), round(tokens / length * _ANSWER_TOKENS)) - each.fixed for each in prints
    )
    return sum(each.fixed for each in prints) + forward


def _runs_on(run: RunConfig, base: str) -> bool:
    return base in (ref.name for ref in run.bases)


def _flops(base: str, work: Work) -> float:
    _, params = decoder_shape(base)
    trained = work.steps * work.rows_per_step * work.row_tokens
    return params * (FLOPS_PER_PARAM_TOKEN * trained + FLOPS_PER_PARAM_TOKEN / 2 * work.scored_tokens)


def _seconds(runs: Sequence[RunConfig], works: Sequence[Work], base: str, device: Device) -> float:
    """The longest learner's steps, each as long as its arithmetic or its launches, then the scoring."""
    layers, params = decoder_shape(base)
    steps = max(work.steps for work in works)
    scoring = params * FLOPS_PER_PARAM_TOKEN / 2 * sum(work.scored_tokens for work in works)
    rate = ATTAINED * device.flops
    if steps == 0:
        return scoring / rate
    tokens = sum(work.steps * work.rows_per_step * work.row_tokens for work in works) / steps
    modules = max(len(run.adapter.modules) for run in runs if run.adapter is not None)
    forwards = max(1.0, tokens / MAX_FORWARD_TOKENS)
    launches = forwards * layers * (_LAYER_LAUNCHES + _MODULE_LAUNCHES * modules) * device.launch_s
    return steps * max(FLOPS_PER_PARAM_TOKEN * params * tokens / rate, launches) + scoring / rate


def _seconds_alone(run: RunConfig, work: Work, base: str, device: Device) -> float:
    """In a process of its own; per-task LoRAs one adapter after another."""
    parts = work.tasks if run.method == "lora" else 1
    one = Work(work.steps, work.rows_per_step / parts, 1, work.row_tokens, work.scored_tokens / parts)
    return START_S + parts * _seconds([run], [one], base, device)
