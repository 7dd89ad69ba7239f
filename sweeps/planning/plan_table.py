"""A plan for people and programs: packs, stages and runs as tables, sentences on totals and bases."""

from collections.abc import Callable, Iterable
from typing import Any, get_args

from portal.bases.family import outline_config
from portal.config import Precision
from portal.messages import counted
from sweeps.planning.cost_model import START_S, Forecast, checkpoint_bytes, duration, kept_bytes, load_seconds
from sweeps.planning.memory import base_bytes, fullest_part, precision_of
from sweeps.planning.plan import Plan, PlannedPack, Schedule, stage_names

_COUNTS = (1, 2, 4, 8)
"""GPUs of a worker that advice is for."""
_GIB = 2**30
_PACES = ("pace", "bf16_pace", "scoring_pace", "bf16_scoring_pace")
_TOLD_OF_DEVICES = ("name", "memory_bytes", *_PACES, "uncertainty")


def division_lines(plan: Plan) -> list[str]:
    """For each base that is divided over GPUs, the weights on the fullest of them, in less precision too."""
    count = plan.device.num_gpus
    if count == 1:
        return []
    lines = []
    for name in plan.bases:
        precision = precision_of(plan.missing, name)
        own, *others = (_on_fullest(name, each, count) for each in (precision, *_smaller(name, precision)))
        saved = f" ({', '.join(others)})" if others else ""
        lines.append(
            f"{name}: divided over {count} GPUs that compute in turns; {own} of weights on the fullest{saved}"
        )
    return lines


def room_lines(plan: Plan) -> list[str]:
    """For each base whose weights alone do not fit a worker's GPUs, a sentence on what they would fit."""
    device, lines = plan.device, list[str]()
    for name in plan.bases if device.is_gpu else ():
        precision = precision_of(plan.missing, name)
        needed = least_gpus(name, precision, device.budget_bytes)
        if needed is not None and needed <= device.num_gpus:
            continue
        ways = [f"gpus_per_worker: {needed} divides them"] if needed is not None else []
        for each in _smaller(name, precision):
            fewer = least_gpus(name, each, device.budget_bytes)
            if fewer is not None and (needed is None or fewer < needed):
                ways.append(f"precision: {each} fits {fewer} {'GPU' if fewer == 1 else 'GPUs'}")
        says = f"{name} has {base_bytes(name, precision, on_gpu=True) / _GIB:.0f} GiB of weights"
        lines.append(
            f"{says}: {'; '.join(ways)}" if ways else f"{says}, more than {_COUNTS[-1]} of these GPUs hold"
        )
    return lines


def least_gpus(name: str, precision: Precision, room: float) -> int | None:
    """The least number of GPUs on which a base takes at most `room` bytes each; None where no number does."""
    for count in _COUNTS:
        try:
            part = fullest_part(name, precision, on_gpu=True, num_gpus=count)
        except ValueError:  # it cannot be divided over so many, nor over more
            return None
        if part.num_bytes <= room:
            return count
    return None


def _smaller(name: str, precision: Precision) -> list[Precision]:
    """Precisions in which the base has fewer bytes than in this one; none where it is published quantised."""
    if getattr(outline_config(name), "quantization_config", None) is not None:
        return []  # 8bit and 4bit would quantise it a second time
    own = base_bytes(name, precision, on_gpu=True)
    return [each for each in get_args(Precision) if base_bytes(name, each, on_gpu=True) < own]


def _on_fullest(name: str, precision: Precision, count: int) -> str:
    size = fullest_part(name, precision, on_gpu=True, num_gpus=count).num_bytes / _GIB
    held = "" if precision == "default" else f" in {precision}"
    return f"{size:.1f} GiB{held}"


_money = "{:.2f}".format
_NAMED = 3
"""Packs that the warning on memory names, those that need the most."""

STAGE_HEADERS = ("stage", "packs", "memory", "FLOPs", "worker time", "unpacked")
PACK_HEADERS = ("stage", "pack", "runs", "memory", "FLOPs", "time", "unpacked", "key")


def pack_rows(plan: Plan) -> list[tuple[str, ...]]:
    """Lines for a table with PACK_HEADERS."""
    names = stage_names(pack.stage for pack in plan.packs)
    return [
        (
            names[pack.stage],
            pack.label,
            str(len(pack.runs)),
            f"{predicted.memory_bytes / 2**30:.1f} GiB",
            f"{predicted.flops:.1e}",
            duration(predicted.hours),
            duration(predicted.hours_alone),
            _key(plan, pack.key) or "-",
        )
        for pack, predicted in _predicted(plan)
    ]


def stage_rows(plan: Plan) -> list[tuple[str, ...]]:
    """Lines for a table with STAGE_HEADERS: what each stage takes of one worker."""
    rows: list[tuple[str, ...]] = []
    for stage, name in stage_names(pack.stage for pack in plan.packs).items():
        own = [each for pack, each in _predicted(plan) if pack.stage == stage]
        rows.append(
            (
                name,
                str(len(own)),
                f"{max(each.memory_bytes for each in own) / 2**30:.1f} GiB",
                f"{sum(each.flops for each in own):.1e}",
                duration(sum(each.hours for each in own)),
                duration(sum(each.hours_alone for each in own)),
            )
        )
    return rows


def to_json(plan: Plan, lanes: int) -> dict[str, Any]:
    """A value for `plan --json`. The plan's own `hours`, of one worker, have the start and the loading of
    bases, too; `makespan_hours` are from start to end on so many lanes.
    """
    hours, alone = device_hours(plan) if plan.packs else (0.0, 0.0)
    return {
        "study": plan.study.name,
        "total": len(plan.study.runs),
        "done": len(plan.status.done),
        "failed": len(plan.status.failed_for_good) - len(plan.status.left_out),
        "left_out": len(plan.status.left_out),
        "missing": len(plan.missing),
        "packs": [
            {
                "pack": _key(plan, pack.key),
                "stage": pack.stage,
                "bases": list(pack.bases),
                "methods": sorted({run.method for run in pack.runs}),
                "runs": [_key(plan, run.key) for run in pack.runs],
                "needs": [_key(plan, key) for key in pack.needs],
                "flops": predicted.flops,
                "memory_bytes": predicted.memory_bytes,
                "hours": predicted.hours,
                "hours_alone": predicted.hours_alone,
            }
            for pack, predicted in _predicted(plan)
        ],
        "hours": hours,
        "hours_alone": alone,
        "lanes": lanes,
        "makespan_hours": plan.schedule(lanes).makespan / 3600 if plan.packs else 0.0,
        "bytes_kept": bytes_written(plan, 1)[0],
        "device": {name: getattr(plan.device, name) for name in _TOLD_OF_DEVICES},
    }


def _key(plan: Plan, key: str) -> str | None:
    """The key; None in a plan without the study's rows, whose hash it would be over."""
    return None if plan.study.suite.is_outline else key


def device_hours(plan: Plan) -> tuple[float, float]:
    """Device-hours as packed, each base loaded once, and with every run in a process of its own."""
    assert plan.forecaster is not None, "a plan without a device predicts nothing"
    loads = {pack.bases: load_seconds(pack.runs[0], plan.device) for pack in plan.packs}
    packed = (START_S + sum(loads.values())) / 3600 + sum(each.hours for each in plan.forecasts)
    return packed, sum(each.hours_alone for each in plan.forecasts)


def bytes_written(plan: Plan, lanes: int) -> tuple[float, float]:
    """Bytes that the runs left will keep in the output folder, and the most that they need beside them."""
    kept = sum(kept_bytes(run, plan.checked.works[run.key]) for run in plan.missing)
    states = sorted((checkpoint_bytes(pack.runs) for pack in plan.packs), reverse=True)
    return kept, sum(states[:lanes])


def state_line(plan: Plan) -> str:
    """The sentence on what the study is and how far it is."""
    study, status = plan.study, plan.status
    failed = [key for key in status.failed_for_good if key not in status.left_out]
    counts = {"done": status.done, "failed": failed, "missing": plan.missing}
    summary = ", ".join(f"{len(runs)} {name}" for name, runs in counts.items())
    if status.left_out:
        summary += f", {len(status.left_out)} paused or stopped"
    return f"study {study.name}: {len(study.runs)} runs, {len(study.tasks)} tasks; {summary}"


def time_lines(plan: Plan, schedule: Schedule, *, devices: int, workers: int) -> list[str]:
    """Sentences on device time, on time from start to end with so many devices and workers, on disk space."""
    packed, alone = device_hours(plan)
    one = "device" if plan.device.is_gpu and workers == devices else "worker"
    origin = "portal gpu-check measures its pace"
    if plan.device.checked is not None:
        origin = f"pace of the gpu-check of {plan.device.checked}"
    lines = [
        f"predicted for {plan.device.label}, one {one}: {duration(packed)} as packed "
        f"({_range(plan, packed, duration)}; {origin}), {duration(alone)} "
        "unpacked (every run in a process of its own, every task's LoRA after another)"
    ]
    if workers > 1:
        each, more = divmod(workers, devices)
        if plan.device.num_gpus > 1:
            shared = f", {plan.device.num_gpus} to a worker"
        elif workers == devices:
            shared = ""
        else:
            shared = f", {workers} workers in all" if more else f", {each} workers on each"
        hours = schedule.makespan / 3600
        lines.append(
            f"on {counted(devices, 'device')}{shared}: {duration(hours)} from start to end "
            f"({_range(plan, hours, duration)}), "
            f"{schedule.makespan / schedule.lower_bound:.2f} times the least possible"
        )
    kept, needed = map(_size, bytes_written(plan, workers))
    lines.append(f"in the output folder: {kept} in the end, and up to {needed} while it runs")
    return lines


def cost_line(plan: Plan, price: float, *, share: float, held_hours: float) -> str:
    """The sentence on the price of the work, and of devices that are held for so many hours.

    A worker has `share` of a device.
    """
    work, held = price * share * device_hours(plan)[0], price * held_hours
    return (
        f"cost at {price:g} per device-hour: {_money(work)} for the work ({_range(plan, work, _money)}), "
        f"{_money(held)} with the devices held from start to end ({_range(plan, held, _money)})"
    )


def _range(plan: Plan, value: float, show: Callable[[float], str]) -> str:
    """`2.0 h to 4.5 h`: between what a prediction may be off by, one way and the other."""
    low, high = (show(share * value) for share in plan.device.uncertainty)
    return f"{low} to {high}"


def memory_warning(plan: Plan) -> str | None:
    """The warning that names packs which may not fit the device; None when all do."""
    budget = plan.device.budget_bytes
    over = [(each.memory_bytes, pack) for pack, each in _predicted(plan) if each.memory_bytes > budget]
    if not over:
        return None
    over.sort(key=lambda item: -item[0])
    named = ", ".join(f"{_described(plan, pack)} ({_size(needed)})" for needed, pack in over[:_NAMED])
    more = f" and {len(over) - _NAMED} more" if len(over) > _NAMED else ""
    return f"{counted(len(over), 'pack')} may not fit {plan.device.label}: {named}{more}"


def _described(plan: Plan, pack: PlannedPack) -> str:
    """What a pack trains, and its key where that counts."""
    what = pack.runs[0].describe()
    return what if plan.study.suite.is_outline else f"{pack.key}, {what}"


def _predicted(plan: Plan) -> Iterable[tuple[PlannedPack, Forecast]]:
    return zip(plan.packs, plan.forecasts, strict=True)


def _size(num_bytes: float) -> str:
    """Bytes as people read them: `17 MB`, `2.3 GB`."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


RUN_HEADERS = ("label", "base", "size", "seed", "state", "key")


def run_records(plan: Plan) -> list[dict[str, Any]]:
    """One record per run, in the study's order: label, method, bases, size, seed, state and key.

    `size` is the most training rows per task; null for all rows, and for a run that trains on none.
    `calibrated` are the tasks that the run trains on; null where that is all of them.
    """
    status = plan.status
    ended = {*status.done, *status.failed_for_good}
    states = {key: state for key, state in status.states.items() if key in ended}
    return [
        {
            "run": _key(plan, run.key),
            "label": plan.study.labels[run.key],
            "method": run.method,
            "bases": [ref.name for ref in run.bases],
            "size": None if run.train is None else run.data.size,
            "seed": run.seed,
            "calibrated": run.data.calibrated,
            "state": states.get(run.key, "missing"),
        }
        for run in plan.study.runs
    ]


def run_rows(plan: Plan) -> list[tuple[str, ...]]:
    """Lines for a table with RUN_HEADERS."""
    return [
        (
            record["label"],
            "+".join(record["bases"]),
            "-" if record["size"] is None else str(record["size"]),
            "-" if record["seed"] is None else str(record["seed"]),
            record["state"],
            record["run"] or "-",
        )
        for record in run_records(plan)
    ]
