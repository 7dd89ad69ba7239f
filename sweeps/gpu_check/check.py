"""`check_device`: all checks of a device one after another, and the record that they leave."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from portal.artifacts.registry import now
from portal.bases.base import load_base
from portal.device import release_memory, torch_threads
from portal.storage.atomic import write_json_atomic
from sweeps.gpu_check.answers import check_answers
from sweeps.gpu_check.attention import check_attention
from sweeps.gpu_check.division import check_division
from sweeps.gpu_check.finding import ERRORS, LAST_START_S, Finding, failed, left_out, skipped, until_error
from sweeps.gpu_check.loading import check_loading
from sweeps.gpu_check.machine import check_machine
from sweeps.gpu_check.neighbours import Steps, check_neighbours
from sweeps.gpu_check.numerics import check_gradients, check_scores
from sweeps.gpu_check.pace import Speed, pace_of
from sweeps.gpu_check.packs import (
    check_companions,
    check_losses,
    check_resume,
    check_shortage,
    check_waiting,
)
from sweeps.gpu_check.quantised import check_quantised
from sweeps.gpu_check.rates import Rates, measure
from sweeps.gpu_check.replacement import check_replacement
from sweeps.gpu_check.shape import ShapeWorld, random_base
from sweeps.gpu_check.speed import measure_speeds
from sweeps.gpu_check.team import check_team
from sweeps.gpu_check.world import CheckWorld
from sweeps.gpu_check.writers import check_killed_writer
from sweeps.planning.devices import (
    Device,
    FoundGpu,
    KnownCheck,
    as_checked,
    describe_gpu,
    plain_cpu,
    processor_name,
)
from sweeps.store.provenance import provenance

RECORD = "gpu-check.json"
Check = Callable[[CheckWorld], Iterator[Finding]]
CHECKS: Mapping[str, Check] = {
    "machine": check_machine,
    "attention": check_attention,
    "gradients": check_gradients,
    "scores": check_scores,
    "answers": check_answers,
    "companions": check_companions,
    "losses": check_losses,
    "waiting": check_waiting,
    "resume": check_resume,
    "killed writer": check_killed_writer,
    "shortage": check_shortage,
    "replacement": check_replacement,
    "quantised": check_quantised,
    "division": check_division,
    "team": check_team,
    "loading": check_loading,
}
"""By name, in the order in which they run."""


@dataclass(frozen=True)
class DeviceRecord:
    """What the checks found: `device` is its kind, `name` its model; findings are by check.

    `rates` are of one CPU thread or of the GPU, None where measuring them ended in an error; `pace` is how
    many times as long as predicted a step on a base of this `shape` took, and `beside` how many times as long
    as alone with a worker on every GPU, or two on a CPU, at once. `scoring_pace` is that of scoring. Those
    that begin with `bf16` are on a base in bf16 of `bf16_shape`, on a CPU that has it.
    """

    device: str
    name: str
    date: str
    rates: Rates | None
    shape: str
    pace: float | None
    beside: float | None
    bf16_shape: str | None
    bf16_pace: float | None
    bf16_beside: float | None
    scoring_pace: float | None
    bf16_scoring_pace: float | None
    findings: Mapping[str, tuple[Finding, ...]]
    wall_s: float

    @property
    def passed(self) -> bool:
        """Whether no line failed."""
        return all(each.level != "FAIL" for found in self.findings.values() for each in found)

    def to_json(self) -> dict[str, Any]:
        """All of it; a value that is no number is null."""
        record = asdict(self)
        for found in record["findings"].values():
            for each in found:
                if each["value"] is not None and not math.isfinite(each["value"]):
                    each["value"] = None
        return {**record, "passed": self.passed, **provenance()}

    def known(self) -> KnownCheck:
        """What plans and launches want to know of it."""
        known = _known(self.name, self.rates, is_gpu=self.device == "cuda")
        return replace(
            known,
            date=self.date,
            passed=self.passed,
            pace=self.pace,
            beside=self.beside,
            bf16_pace=self.bf16_pace,
            bf16_beside=self.bf16_beside,
            scoring_pace=self.scoring_pace,
            bf16_scoring_pace=self.bf16_scoring_pace,
        )


def check_device(
    device: str,
    out: Path,
    tell: Callable[[str, Finding], None],
    *,
    checks: Mapping[str, Check] = CHECKS,
    shape: str | None = None,
    base: str | None = None,
    gpus: int | None = None,
) -> DeviceRecord:
    """Run the checks, `tell` each line as it comes, and write `RECORD` into `out`.

    Steps and loading are timed on a base of this `shape`, any whose sizes are known, with random weights, or
    on this `base`, with its own. `gpus` are those for lines of several, otherwise all. What plans and
    launches want to know is kept in this user's cache. A check that ends in an error is a line that failed;
    a line of times that there is no time for is a warning.
    """
    started = time.monotonic()

    def is_late() -> bool:
        return time.monotonic() - started > LAST_START_S

    findings: dict[str, tuple[Finding, ...]] = {}
    with tempfile.TemporaryDirectory(prefix="portal-check-") as scratch, torch_threads(1):
        world = CheckWorld(device, Path(scratch), out=out, gpus=gpus, shape=shape, base=base)
        out.mkdir(parents=True, exist_ok=True)
        for name, check in checks.items():
            found = []
            for each in until_error(check(world)):
                tell(name, each)
                found.append(each)
            findings[name] = tuple(found)
        rates, error = _rates(world, out)
        if error is not None:
            tell("rates", error)
            findings["rates"] = (error,)
        findings["speed"], (own, halved) = _speed(world, rates, partial(tell, "speed"), is_late)
    record = DeviceRecord(
        device=world.device.type,
        name=torch.cuda.get_device_name(world.device) if world.is_gpu else processor_name(),
        date=now().isoformat(timespec="seconds"),
        rates=rates,
        shape=world.timed,
        pace=own.pace,
        beside=own.beside,
        bf16_shape=None if halved.pace is None else world.halved,
        bf16_pace=halved.pace,
        bf16_beside=halved.beside,
        scoring_pace=own.scoring,
        bf16_scoring_pace=halved.scoring,
        findings=findings,
        wall_s=round(time.monotonic() - started, 1),
    )
    write_json_atomic(out / RECORD, record.to_json())
    record.known().keep()
    return record


def _rates(world: CheckWorld, out: Path) -> tuple[Rates | None, Finding | None]:
    """The rates, or why there are none."""
    try:
        return measure(world.device, out, has_bf16=world.own_precision is not None), None
    except ERRORS as error:
        return None, failed(error)


@dataclass(frozen=True)
class _Paces:
    """Of steps on a base: alone over predicted, and beside other workers over alone; and of scoring."""

    pace: float | None = None
    beside: float | None = None
    scoring: float | None = None


def _speed(
    world: CheckWorld, rates: Rates | None, tell: Callable[[Finding], None], is_late: Callable[[], bool]
) -> tuple[tuple[Finding, ...], tuple[_Paces, _Paces]]:
    """The lines of steps beside the forecast, which knows the rates, and how far it is off in the mean.

    Beside the usual precision, bases in bf16 have such a mean of their own on a CPU that multiplies bf16. A
    base is timed whole or not at all: the mean of some packs would be another pace.
    """
    found: list[Finding] = []
    paces: list[_Paces] = []

    def note(line: Finding) -> None:
        tell(line)
        found.append(line)

    try:
        device = _rated(world.device, rates) if world.is_gpu else _rated_core(rates)
        for timed in _timed(world, note, is_late):
            speeds: list[Speed] = []
            for each in measure_speeds(timed, device, world.out, is_late):
                lines = (each,) if isinstance(each, Finding) else each.findings
                speeds += [] if isinstance(each, Finding) else [each]
                for line in lines:
                    note(line)
            steps = Steps.of(timed, device, is_random=world.is_random, count=world.workers)
            has_room = steps.fit(timed)
            del timed
            release_memory()  # other bases take its place
            beside, ratio = _beside(world, steps, has_room=has_room, is_late=is_late())
            for line in beside:
                note(line)
            steps_pace, scoring_pace = (
                pace_of([each for each in speeds if each.is_scoring == is_scoring])
                for is_scoring in (False, True)
            )
            paces.append(_Paces(steps_pace, ratio, scoring_pace))
    except ERRORS as error:
        note(failed(error))
    own, halved, *_ = [*paces, _Paces(), _Paces()]
    return tuple(found), (own, halved)


def _beside(
    world: CheckWorld, steps: Steps, *, has_room: bool, is_late: bool
) -> tuple[tuple[Finding, ...], float | None]:
    """The lines on steps of several workers at once, and their time over that of one where it is known."""
    what = f"{steps.base.name}: steps of several workers at once"
    if world.workers == 1:
        return (skipped(what, world.lone_worker),), None
    if not has_room:
        return (skipped(what, f"{world.workers} packs do not fit the memory"),), None
    if is_late:
        return (left_out(what),), None
    try:
        return check_neighbours(steps, world.workers)
    except ERRORS as error:
        return (failed(error),), None


def _timed(
    world: CheckWorld, tell: Callable[[Finding], None], is_late: Callable[[], bool]
) -> Iterator[ShapeWorld]:
    """The base that is timed, then one in bf16 on a CPU that multiplies it, where there is time for it."""
    if world.is_random:
        yield ShapeWorld(random_base(world.timed, world.device))
    else:
        yield ShapeWorld(load_base(world.timed, device=world.device_kind))
    if world.is_gpu or world.own_precision is None:
        return
    if is_late():
        tell(left_out(f"{world.halved} in bf16: steps and scoring"))
        return
    precision = world.own_precision
    if world.is_random:
        yield ShapeWorld(random_base(world.halved, world.device, precision=precision), batch=1)
    else:
        yield ShapeWorld(load_base(world.halved, device=world.device_kind, precision=precision), batch=1)


def _rated_core(rates: Rates | None) -> Device:
    """One core of this machine for plans, with the rates that were measured."""
    return as_checked(plain_cpu(1), replace(_known("", rates, is_gpu=False), pace=1.0))


def _rated(gpu: torch.device, rates: Rates | None) -> Device:
    """The GPU for plans, with the rates that were measured."""
    known = describe_gpu(FoundGpu.of(gpu))
    return as_checked(known, _known(known.name, rates, is_gpu=True))


def _known(name: str, rates: Rates | None, *, is_gpu: bool) -> KnownCheck:
    """What these rates are worth knowing for."""
    known = KnownCheck(name, torch.__version__, "", True)
    if rates is None:
        return known
    known = replace(known, write_bytes_per_s=rates.write_bytes_per_s)
    if not is_gpu:
        return replace(known, flops=rates.fp32_flops, bf16_flops=rates.bf16_flops)
    return replace(
        known,
        flops=rates.bf16_flops,
        fp32_flops=rates.fp32_flops,
        tf32_flops=rates.tf32_flops,
        launch_s=rates.launch_s,
        bytes_per_s=2 * rates.copy_bytes_per_s,
    )
