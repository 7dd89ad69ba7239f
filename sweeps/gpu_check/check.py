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
from portal.config import Precision
from portal.device import release_memory, torch_threads
from portal.storage.atomic import write_json_atomic
from sweeps.gpu_check.finding import (
    ERRORS,
    LAST_START_S,
    NEEDS_BF16,
    Finding,
    failed,
    left_out,
    skipped,
    until_error,
)
from sweeps.gpu_check.neighbours import Steps, check_neighbours
from sweeps.gpu_check.numbers import check_gradients, check_resume, check_scores
from sweeps.gpu_check.rates import Rates, known_rates, measure, rated_device
from sweeps.gpu_check.shape import BATCH, ShapeWorld, random_base
from sweeps.gpu_check.speed import Speed, measure_speeds, pace_of
from sweeps.gpu_check.world import CheckWorld
from sweeps.planning.devices import KnownCheck, processor_name
from sweeps.store.provenance import provenance

RECORD = "gpu-check.json"
Check = Callable[[CheckWorld], Iterator[Finding]]
Tell = Callable[[Finding], None]
IsLate = Callable[[], bool]
CHECKS: Mapping[str, Check] = {"gradients": check_gradients, "scores": check_scores, "resume": check_resume}
"""Of numbers, by name, in the order in which they run; rates and speeds follow."""


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
        paces = ("pace", "beside", "bf16_pace", "bf16_beside", "scoring_pace", "bf16_scoring_pace")
        found = {name: getattr(self, name) for name in ("date", "passed", *paces)}
        return replace(known_rates(self.name, self.rates, is_gpu=self.device == "cuda"), **found)


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

    Steps are timed on a base of this `shape`, any whose sizes are known, with random weights, or on this
    `base`, with its own. `gpus` are those for lines of several, otherwise all. What plans and launches want
    to know is kept in this user's cache. A check that ends in an error is a line that failed; a line of times
    that there is no time for is a warning.
    """
    started = time.monotonic()
    findings: dict[str, list[Finding]] = {}

    def note(name: str, line: Finding) -> None:
        tell(name, line)
        findings.setdefault(name, []).append(line)

    with tempfile.TemporaryDirectory(prefix="portal-check-") as scratch, torch_threads(1):
        world = CheckWorld(device, Path(scratch), gpus=gpus, shape=shape, base=base)
        out.mkdir(parents=True, exist_ok=True)
        for name, check in checks.items():
            for line in until_error(check(world)):
                note(name, line)
        rates = None
        try:
            rates = measure(world.device, out, has_bf16=world.own_precision is not None)
        except ERRORS as error:
            note("rates", failed(error))
        own, halved = _paces(
            world, rates, partial(note, "speed"), lambda: time.monotonic() - started > LAST_START_S
        )
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
        findings={name: tuple(lines) for name, lines in findings.items()},
        wall_s=round(time.monotonic() - started, 1),
    )
    write_json_atomic(out / RECORD, record.to_json())
    record.known().keep()
    return record


@dataclass(frozen=True)
class _Paces:
    """Of steps on a base: alone over predicted, and beside other workers over alone; and of scoring."""

    pace: float | None = None
    beside: float | None = None
    scoring: float | None = None


def _paces(world: CheckWorld, rates: Rates | None, tell: Tell, is_late: IsLate) -> tuple[_Paces, _Paces]:
    """How far steps are off a forecast that knows the rates, in the mean, on a base as studies have it.

    The second of the two is of a base in bf16, on a CPU that multiplies bf16. A base is timed whole or not at
    all: the mean of some packs would be another pace.
    """
    found: list[_Paces] = []
    try:
        device = rated_device(world.device, rates)
        for timed in _timed(world, tell, is_late):
            speeds: list[Speed] = []
            for each in measure_speeds(timed, device, is_late):
                lines = (each,) if isinstance(each, Finding) else each.findings
                speeds += [] if isinstance(each, Finding) else [each]
                for line in lines:
                    tell(line)
            steps = Steps.of(timed, device, is_random=world.is_random, count=world.workers)
            has_room = steps.fit(timed)
            del timed
            release_memory()  # other bases take its place
            found.append(
                _Paces(
                    pace_of([each for each in speeds if not each.is_scoring]),
                    _beside(world, steps, tell, has_room=has_room, is_late=is_late),
                    pace_of([each for each in speeds if each.is_scoring]),
                )
            )
    except ERRORS as error:
        tell(failed(error))
    own, halved, *_ = [*found, _Paces(), _Paces()]
    return own, halved


def _timed(world: CheckWorld, tell: Tell, is_late: IsLate) -> Iterator[ShapeWorld]:
    """The base that is timed, then one in bf16 on a CPU that multiplies it, where there is time for it."""

    def load(name: str, batch: int, precision: Precision = "default") -> ShapeWorld:
        if world.is_random:
            return ShapeWorld(random_base(name, world.device, precision=precision), batch=batch)
        return ShapeWorld(load_base(name, device=world.device_kind, precision=precision), batch=batch)

    yield load(world.timed, BATCH)
    if world.is_gpu:
        return
    in_bf16 = f"{world.halved} in bf16: steps and scoring"
    if world.own_precision is None:
        tell(skipped(in_bf16, NEEDS_BF16))
        return
    if is_late():
        tell(left_out(in_bf16))
        return
    yield load(world.halved, 1, world.own_precision)


def _beside(world: CheckWorld, steps: Steps, tell: Tell, *, has_room: bool, is_late: IsLate) -> float | None:
    """The time of steps of several workers at once over that of one, where it is known, with its lines."""
    what = f"{steps.base.name}: steps of several workers at once"
    if world.workers == 1:
        tell(skipped(what, world.lone_worker))
    elif not has_room:
        tell(skipped(what, f"{world.workers} packs do not fit the memory"))
    elif is_late():
        tell(left_out(what))
    else:
        try:
            lines, ratio = check_neighbours(steps, world.workers)
        except ERRORS as error:
            tell(failed(error))
        else:
            for line in lines:
                tell(line)
            return ratio
    return None
