"""`Plan`: what a study still has to do, in packs, in the order in which they start. All checks are here."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from portal.bases import base_sites, check_precision, load_tokenizer
from portal.batches import num_batches
from portal.config import TRANSFERS, RunConfig
from portal.devices import Device
from portal.lora_transfer import check_transfer
from portal.sites import check_rank
from portal.suites import Suite
from portal.tasks.example import SPLITS
from sweeps.forecast import START_S, Forecast, Work, duration, forecast
from sweeps.store import Store, check_writable, pack_key
from sweeps.study import Study, stage_of

STAGE_NAMES = {1: "train", 2: "port"}
_TRAIN_COST, _SCORE_COST = (
    2.0,
    1.0,
)  # passes over the frozen base: a step goes through it forwards and backwards
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class PlannedPack:
    """Runs that share their bases and adapter shape and are stepped together. `cost` is in multiply-adds."""

    key: str
    stage: int
    members: tuple[str, ...]  # keys of all runs, the finished ones too
    runs: tuple[RunConfig, ...]  # those that are left
    cost: float

    @property
    def bases(self) -> tuple[str, ...]:
        return tuple(ref.name for ref in self.runs[0].bases)

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the source runs that must be finished first."""
        return tuple(dict.fromkeys(run.source for run in self.runs if run.source is not None))

    @property
    def label(self) -> str:
        methods = dict.fromkeys(run.method for run in self.runs)
        return f"{', '.join(methods)} on {'+'.join(self.bases)}"


@dataclass(frozen=True)
class Plan:
    """The state of a study in an output folder, and what is left to do."""

    study: Study
    out: Path
    done: tuple[str, ...]
    failed: tuple[str, ...]
    packs: tuple[PlannedPack, ...]
    costs: dict[str, float]  # of every run, by key
    works: dict[str, Work]  # of every run, by key

    @cached_property
    def missing(self) -> tuple[RunConfig, ...]:
        return tuple(run for pack in self.packs for run in pack.runs)

    def lanes(self, count: int) -> list[list[PlannedPack]]:
        """`count` lanes: every lane prefers the packs of its own bases, then helps with the rest.

        Bases go by their cost to the lane that has the least so far; all lanes list all packs.
        """
        by_bases: dict[tuple[str, ...], list[PlannedPack]] = {}
        for pack in self.packs:
            by_bases.setdefault(pack.bases, []).append(pack)
        groups = sorted(
            by_bases.values(), key=lambda packs: (packs[0].stage, -sum(pack.cost for pack in packs))
        )
        own: list[list[PlannedPack]] = [[] for _ in range(count)]
        for packs in groups:
            least = min(own, key=lambda lane: sum(pack.cost for pack in lane))
            least.extend(packs)
        return [
            sorted(self.packs, key=lambda pack: (_urgency(pack), pack not in lane, -pack.cost, pack.key))
            for lane in own
        ]

    def forecasts(self, device: Device) -> list[Forecast]:
        """What every pack is predicted to take on `device`."""
        return [
            forecast(pack.runs, [self.works[run.key] for run in pack.runs], device) for pack in self.packs
        ]

    def totals(self, forecasts: Sequence[Forecast]) -> tuple[float, float]:
        """Device-hours as packed, each base loaded once, and with every run in a process of its own."""
        starts = START_S / 3600 * len({pack.bases for pack in self.packs})
        return starts + sum(each.hours for each in forecasts), sum(each.hours_alone for each in forecasts)

    def to_json(self, device: Device) -> dict[str, Any]:
        """A value for `plan --json`."""
        return {
            "study": self.study.name,
            "total": len(self.study.runs),
            "done": len(self.done),
            "failed": len(self.failed),
            "missing": len(self.missing),
            "packs": [
                {
                    "pack": pack.key,
                    "stage": pack.stage,
                    "bases": list(pack.bases),
                    "methods": sorted({run.method for run in pack.runs}),
                    "runs": [run.key for run in pack.runs],
                    "needs": list(pack.needs),
                    "flops": predicted.flops,
                    "memory_bytes": predicted.memory_bytes,
                    "hours": predicted.hours,
                    "hours_alone": predicted.hours_alone,
                }
                for pack, predicted in zip(self.packs, self.forecasts(device), strict=True)
            ],
            "device": {"name": device.name, "memory_bytes": device.memory_bytes},
        }

    def rows(self, forecasts: Sequence[Forecast]) -> list[tuple[str, ...]]:
        """Lines for a table with PLAN_HEADERS."""
        return [
            (
                STAGE_NAMES[pack.stage],
                pack.label,
                str(len(pack.runs)),
                f"{predicted.memory_bytes / 2**30:.1f} GiB",
                f"{predicted.flops:.1e}",
                duration(predicted.hours),
                duration(predicted.hours_alone),
                pack.key,
            )
            for pack, predicted in zip(self.packs, forecasts, strict=True)
        ]


PLAN_HEADERS = ("stage", "pack", "runs", "memory", "FLOPs", "time", "unpacked", "key")


def plan_study(study: Study, out: Path) -> Plan:
    """What is missing of the study in `out`; ValueError for anything that would make a run fail later."""
    check_writable(out)
    check_precision(study.settings.precision, _planned_device())
    suite = study.suite
    num_rows = count_rows(suite, study.tasks)
    _check_shapes(study)
    store = Store(out)
    done = tuple(run.key for run in study.runs if store.is_done(run.key))
    failed = tuple(
        key
        for key in study.by_key
        if key not in done and (failure := store.failure(key)) is not None and not failure["lost"]
    )
    estimate = _Estimate(suite, study.tasks, num_rows)
    works = {run.key: estimate.work(run) for run in study.runs}
    costs = {run.key: estimate.cost(run, works[run.key]) for run in study.runs}
    finished = {*done, *failed}
    for name in dict.fromkeys(ref.name for run in study.runs if run.key not in finished for ref in run.bases):
        load_tokenizer(name)  # one of another base is refused
    packs = []
    for key, members in group_packs(study, store.recorded_packs()):
        left = tuple(run for run in members if run.key not in finished)
        if left:
            keys = tuple(run.key for run in members)
            packs.append(PlannedPack(key, stage_of(left[0]), keys, left, sum(costs[run.key] for run in left)))
    packs.sort(key=lambda pack: (_urgency(pack), -pack.cost, pack.key))
    return Plan(study, out, done, failed, tuple(packs), costs, works)


def _check_shapes(study: Study) -> None:
    """ValueError where an adapter does not fit its base, or a transfer not its two bases."""
    sites = {name: base_sites(name) for name in study.bases}
    for run in study.runs:
        if run.adapter is None:
            continue
        for ref in run.bases:
            check_rank(sites[ref.name], run.adapter.modules, run.adapter.rank)
        if run.method in TRANSFERS and run.source_bases is not None:
            check_transfer(run, sites[run.source_bases[0]], sites[run.bases[0].name])


def _planned_device() -> str:
    """Where runs will be: on a GPU when this machine has one, or a cluster is named that may have."""
    return "cuda" if torch.cuda.is_available() or os.environ.get("RAY_ADDRESS") else "cpu"


def group_packs(
    study: Study, recorded: Mapping[str, Sequence[str]]
) -> list[tuple[str, tuple[RunConfig, ...]]]:
    """(key, runs) of all packs: recorded ones as they were, the rest by stage, bases and adapter shape."""
    free = dict(study.by_key)
    packs = []
    for key, members in recorded.items():
        runs = tuple(free.pop(member) for member in members if member in free)
        if runs:
            packs.append((key, runs))
    groups: dict[tuple[Any, ...], list[RunConfig]] = {}
    for run in free.values():
        trains = run.train is not None
        groups.setdefault((stage_of(run), trains, run.bases, run.adapter, run.data.tasks), []).append(run)
    for group in groups.values():
        count = -(-len(group) // study.settings.pack_size)
        group.sort(key=lambda run: (run.method, -(run.data.size or 0), run.seed or 0, run.key))
        for first in range(count):
            runs = tuple(group[first::count])  # every pack gets its share of the long ones
            packs.append((pack_key([run.key for run in runs]), runs))
    return packs


def _urgency(pack: PlannedPack) -> int:
    """Sources first, since ports wait for them; ports last."""
    return 0 if pack.runs[0].method == "source" else pack.stage


def count_rows(suite: Suite, tasks: Sequence[str]) -> dict[str, int]:
    """Training rows a task; ValueError for a task without rows in one of its splits."""
    for task in tasks:
        for split in SPLITS:
            if not suite.examples(task, split):
                raise ValueError(f"suite {suite.name!r}: task {task!r} has no rows in split {split!r}")
    return {task: len(suite.examples(task, "train")) for task in tasks}


class _Estimate:
    """Multiply-adds of a run: weights of the adaptable layers x tokens x passes."""

    def __init__(self, suite: Suite, tasks: Sequence[str], num_rows: dict[str, int]) -> None:
        self._num_rows = num_rows
        self._num_scored = {
            task: [len(suite.examples(task, split)) for split in SPLITS if split != "train"] for task in tasks
        }
        sample = [example for task in tasks for example in suite.examples(task, "validation")[:50]]
        prompts = sum(len(example.prompt) for example in sample)
        choices = sum(len(choice) for example in sample for choice in example.choices)
        answers = sum(len(example.choices[example.gold]) for example in sample)
        self._tokens = (prompts + choices) / len(sample) / _CHARS_PER_TOKEN  # of a row with all its choices
        self._row_tokens = (prompts + answers) / len(sample) / _CHARS_PER_TOKEN  # of one to train on
        self._weights: dict[str, int] = {}

    def work(self, run: RunConfig) -> Work:
        """How much a run trains and scores on each of its bases."""
        data, train = run.data, run.train
        scored = sum(min(data.eval_size, count) for counts in self._num_scored.values() for count in counts)
        if train is None:
            return Work(0, 0.0, len(data.tasks), self._row_tokens, self._tokens * scored)
        sizes = [min(data.size or count, count) for count in self._num_rows.values()]
        batches = [num_batches(size, train.batch_size) for size in sizes]
        if run.hypernet is not None:
            batches = [max(batches)] * len(batches)  # shorter tasks are recycled
        steps = [max(train.epochs * (train.rounds_per_epoch or each), train.min_steps) for each in batches]
        passes = train.epochs + 1 if train.evaluate == "every_epoch" else 1
        return Work(
            steps=max(steps),
            rows_per_step=train.batch_size * sum(steps) / max(steps),
            tasks=len(data.tasks),
            row_tokens=self._row_tokens,
            scored_tokens=self._tokens * passes * scored,
        )

    def cost(self, run: RunConfig, work: Work) -> float:
        """In multiply-adds of the frozen base, for the order of packs."""
        trained = work.steps * work.rows_per_step * work.row_tokens
        tokens = _TRAIN_COST * trained + _SCORE_COST * work.scored_tokens
        return tokens * sum(self._num_weights(ref.name) for ref in run.bases)

    def _num_weights(self, base: str) -> int:
        if base not in self._weights:
            self._weights[base] = sum(site.d_in * site.d_out for site in base_sites(base))
        return self._weights[base]
