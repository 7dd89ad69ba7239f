"""`Plan`: what a study still has to do, in packs, in the order in which they start. All checks are here."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from portal.bases.base import base_sites, check_precision, load_tokenizer
from portal.bases.files import hub_answers, is_cached, locate
from portal.bases.sites import check_rank
from portal.config import RunConfig
from portal.learners.transfer import check_transfer
from portal.storage.paths import Folder
from sweeps.planning.cost_model import (
    START_S,
    Execution,
    Forecast,
    duration,
    forecast,
    forward_tokens,
    load_seconds,
    peak_memory,
)
from sweeps.planning.devices import Device
from sweeps.planning.disk_space import checkpoint_bytes, kept_bytes
from sweeps.planning.group_runs import group_packs
from sweeps.planning.schedule import Schedule, ScheduledPack, earliest_finish, play
from sweeps.planning.study_rows import count_rows
from sweeps.planning.workload import Work, WorkloadEstimator
from sweeps.store.run_store import Store, check_writable
from sweeps.study.expand import Study, stage_of

LANE_PACKS = (3, 4, 6, 8, 12)
"""Packs a lane has at least, as far as there are runs: the last ones to end are not all of a lane's work.

Smaller packs spread more evenly and share fewer launches; the number that is predicted to end first is taken.
"""
_LOAD_SHARE = 0.1  # of a mean pack that loading its base takes, where the device is not known
STAGE_NAMES = {1: "train", 2: "port"}


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
    """The state of a study in an output folder, and what is left to do.

    With a device, packs are small enough for its memory, and what they take can be predicted.
    """

    study: Study
    out: Folder
    device: Device | None
    done: tuple[str, ...]
    failed: tuple[str, ...]
    packs: tuple[PlannedPack, ...]
    costs: dict[str, float]  # of every run, by key
    works: dict[str, Work]  # of every run, by key

    def on(self, device: Device | None, lanes: int = 1) -> "Plan":
        """The same runs in packs for so many lanes of another device; only recorded packs are read again."""
        recorded = Store(self.out).recorded_packs()
        limits = [math.inf]
        if lanes > 1:
            finished = {*self.done, *self.failed}
            cost = sum(cost for key, cost in self.costs.items() if key not in finished)
            limits = [cost / (parts * lanes) for parts in LANE_PACKS]
        plans = [replace(self, device=device, packs=self._packs(recorded, device, limit)) for limit in limits]
        return min(plans, key=lambda plan: plan._makespan(lanes)) if len(plans) > 1 else plans[0]

    def _packs(
        self, recorded: Mapping[str, Sequence[str]], device: Device | None, most_cost: float
    ) -> tuple[PlannedPack, ...]:
        """What is left, in packs of at most so much cost that fit the device's memory."""
        finished = {*self.done, *self.failed}

        def fits(runs: Sequence[RunConfig]) -> bool:
            if sum(self.costs[run.key] for run in runs if run.key not in finished) > most_cost:
                return False
            if device is None:
                return True
            works = self._works(runs)
            return peak_memory(runs, works, device, self.how) <= device.budget_bytes

        packs = []
        for key, members in group_packs(self.study, recorded, fits):
            left = tuple(run for run in members if run.key not in finished)
            if left:
                keys, cost = tuple(run.key for run in members), sum(self.costs[run.key] for run in left)
                packs.append(PlannedPack(key, stage_of(left[0]), keys, left, cost))
        return tuple(sorted(packs, key=lambda pack: (_urgency(pack), -pack.cost, pack.key)))

    @property
    def how(self) -> Execution:
        """How the study wants its packs run."""
        settings = self.study.settings
        return Execution(settings.activations, settings.workers_per_pack)

    @cached_property
    def missing(self) -> tuple[RunConfig, ...]:
        return tuple(run for pack in self.packs for run in pack.runs)

    @property
    def bases(self) -> tuple[str, ...]:
        """Names of the bases of runs that are left, in order of first use."""
        return tuple(dict.fromkeys(name for pack in self.packs for name in pack.bases))

    def lanes(self, count: int) -> list[list[PlannedPack]]:
        """`count` lanes, each with all packs in the order in which it prefers them.

        Of two plans, the one that is predicted to end first: packs that go where they end first, or lanes
        that keep to their own bases.
        """
        packs = {pack.key: pack for pack in self.packs}
        return [[packs[task.key] for task in lane] for lane in self._orders(count)[1]]

    def _makespan(self, count: int) -> float:
        """Predicted seconds of so many lanes, or units of cost without a device."""
        return self._orders(count)[0]

    def _orders(self, count: int) -> tuple[float, list[list[ScheduledPack]]]:
        """The makespan of the better of the two plans, and the order of each of its lanes."""
        tasks = self._tasks()
        own_bases = [[tasks[pack.key] for pack in lane] for lane in self._by_bases(count)]
        plans = [own_bases, earliest_finish(list(tasks.values()), count)]
        return min(((play(lanes).makespan, lanes) for lanes in plans), key=lambda plan: plan[0])

    def _by_bases(self, count: int) -> list[list[PlannedPack]]:
        """Every lane prefers the packs of its own bases, then helps with the rest.

        Bases go by their cost to the lane that has the least so far.
        """
        by_bases: dict[tuple[str, ...], list[PlannedPack]] = {}
        for pack in self.packs:
            by_bases.setdefault(pack.bases, []).append(pack)
        groups = sorted(
            by_bases.values(), key=lambda packs: (packs[0].stage, -sum(pack.cost for pack in packs))
        )
        own: list[set[tuple[str, ...]]] = [set() for _ in range(count)]
        load = [0.0] * count
        for packs in groups:
            least = min(range(count), key=lambda lane: load[lane])
            own[least].add(packs[0].bases)
            load[least] += sum(pack.cost for pack in packs)
        return [sorted(self.packs, key=lambda pack: (_urgency(pack), pack.bases not in lane)) for lane in own]

    @cached_property
    def forecasts(self) -> list[Forecast]:
        """What every pack is predicted to take on the plan's device."""
        assert self.device is not None, "a plan without a device predicts nothing"
        return [forecast(pack.runs, self._works(pack.runs), self.device, self.how) for pack in self.packs]

    def forward_tokens(self, pack: PlannedPack) -> dict[str, int]:
        """The most padded tokens of a training forward, by base; nothing without a device."""
        if self.device is None:
            return {}
        return forward_tokens(pack.runs, self._works(pack.runs), self.device, self.how)

    @property
    def largest_run_bytes(self) -> float:
        """Predicted peak memory of the largest run that is left, alone on the plan's device."""
        assert self.device is not None, "a plan without a device predicts nothing"
        alone = (peak_memory([run], self._works([run]), self.device, self.how) for run in self.missing)
        return max(alone, default=0.0)

    def totals(self) -> tuple[float, float]:
        """Device-hours as packed, each base loaded once, and with every run in a process of its own."""
        assert self.device is not None, "a plan without a device predicts nothing"
        loads = {pack.bases: load_seconds(pack.runs[0], self.device) for pack in self.packs}
        packed = (START_S + sum(loads.values())) / 3600 + sum(each.hours for each in self.forecasts)
        return packed, sum(each.hours_alone for each in self.forecasts)

    def bytes_written(self, lanes: int) -> tuple[float, float]:
        """Bytes that what is left keeps in the output folder, and the most that it needs beside them."""
        kept = sum(kept_bytes(run, self.works[run.key]) for run in self.missing)
        states = sorted((checkpoint_bytes(pack.runs) for pack in self.packs), reverse=True)
        return kept, sum(states[:lanes])

    def schedule(self, lanes: int) -> Schedule:
        """What is left, played through on so many lanes of the plan's device."""
        assert self.device is not None, "a plan without a device predicts nothing"
        tasks = self._tasks()
        return play([[tasks[pack.key] for pack in lane] for lane in self.lanes(lanes)], start_s=START_S)

    def _tasks(self) -> dict[str, ScheduledPack]:
        """The packs by key, in seconds; without a device in units of their cost."""
        if self.device is None:
            lengths = [pack.cost for pack in self.packs]
            loads = [_LOAD_SHARE * sum(lengths) / max(1, len(lengths))] * len(lengths)
        else:
            workers = self.study.settings.workers_per_pack
            share = 1 if workers == "bases" else workers  # of a pack's work that a worker of its lane has
            lengths = [3600 * each.hours / share for each in self.forecasts]
            loads = [load_seconds(pack.runs[0], self.device) for pack in self.packs]
        makers = {run.key: pack.key for pack in self.packs for run in pack.runs}
        return {
            pack.key: ScheduledPack(
                pack.key,
                length,
                pack.bases,
                tuple(dict.fromkeys(makers[need] for need in pack.needs if need in makers)),
                load,
            )
            for pack, length, load in zip(self.packs, lengths, loads, strict=True)
        }

    def lane_seconds(self, lanes: int) -> float | None:
        """Predicted seconds of a lane when so many share what is left; None without a device."""
        if self.device is None:
            return None
        return 3600 * sum(each.hours for each in self.forecasts) / lanes

    def stage_rows(self) -> list[tuple[str, ...]]:
        """Lines for a table with STAGE_HEADERS: what each stage takes of one device."""
        rows: list[tuple[str, ...]] = []
        for stage, name in STAGE_NAMES.items():
            own = [each for pack, each in zip(self.packs, self.forecasts, strict=True) if pack.stage == stage]
            if own:
                peak, flops = max(each.memory_bytes for each in own), sum(each.flops for each in own)
                hours, alone = sum(each.hours for each in own), sum(each.hours_alone for each in own)
                rows.append(
                    (
                        name,
                        str(len(own)),
                        f"{peak / 2**30:.1f} GiB",
                        f"{flops:.1e}",
                        duration(hours),
                        duration(alone),
                    )
                )
        return rows

    def to_json(self) -> dict[str, Any]:
        """A value for `plan --json`."""
        assert self.device is not None, "a plan without a device predicts nothing"
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
                for pack, predicted in zip(self.packs, self.forecasts, strict=True)
            ],
            "bytes_kept": self.bytes_written(1)[0],
            "device": {"name": self.device.name, "memory_bytes": self.device.memory_bytes},
        }

    def rows(self) -> list[tuple[str, ...]]:
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
            for pack, predicted in zip(self.packs, self.forecasts, strict=True)
        ]

    def _works(self, runs: Sequence[RunConfig]) -> list[Work]:
        return [self.works[run.key] for run in runs]


STAGE_HEADERS = ("stage", "packs", "memory", "FLOPs", "device time", "unpacked")
PLAN_HEADERS = ("stage", "pack", "runs", "memory", "FLOPs", "time", "unpacked", "key")


def plan_study(study: Study, out: Folder, *, device: Device | None = None, lanes: int = 1) -> Plan:
    """What is missing of the study in `out`; ValueError for what would make a run fail later.

    Tokenizers are left to `check_tokenizers`: the hub has to be asked for them, and for nothing else here.
    Without a device only the study's `pack_size` limits a pack. For several `lanes` packs are small enough
    that all of them have work.
    """
    check_writable(out)
    check_precision(study.settings.precision, _planned_device())
    suite = study.suite
    num_rows = count_rows(suite, study.tasks)
    check_shapes(study)
    store = Store(out)
    done = tuple(run.key for run in study.runs if store.is_done(run.key))
    failed = tuple(
        key
        for key in study.by_key
        if key not in done and (failure := store.failure(key)) is not None and not failure["lost"]
    )
    estimate = WorkloadEstimator(suite, study.tasks, num_rows)
    works = {run.key: estimate.work(run) for run in study.runs}
    costs = {run.key: estimate.cost(run, works[run.key]) for run in study.runs}
    return Plan(study, out, device, done, failed, (), costs, works).on(device, lanes)


def check_tokenizers(plan: Plan) -> None:
    """Load the tokenizer of each base of a run that is left; ValueError for one of another base."""
    for name in plan.bases:
        load_tokenizer(name)


def unchecked_tokenizers(plan: Plan) -> tuple[str, ...]:
    """Check what of the tokenizers this machine has; returns the bases whose files only the hub has.

    That is where the hub does not answer, and all are checked elsewhere. ValueError as of `check_tokenizers`.
    """
    if all(locate(name).is_local for name in plan.bases) or hub_answers():
        check_tokenizers(plan)
        return ()
    unchecked = []
    for name in plan.bases:
        if locate(name).is_local or is_cached(name):
            load_tokenizer(name, local_files_only=True)
        else:
            unchecked.append(name)
    return tuple(unchecked)


def check_shapes(study: Study) -> None:
    """ValueError where an adapter does not fit its base, or a transfer not its two bases."""
    sites = {name: base_sites(name) for name in study.bases}
    for run in study.runs:
        if run.adapter is None:
            continue
        for ref in run.bases:
            check_rank(sites[ref.name], run.adapter.modules, run.adapter.rank)
        if run.spec.is_transfer and run.source_bases is not None:
            check_transfer(run, sites[run.source_bases[0]], sites[run.bases[0].name])


def _planned_device() -> str:
    """Where runs will be: on a GPU when this machine has one, or a cluster is named that may have."""
    return "cuda" if torch.cuda.is_available() or os.environ.get("RAY_ADDRESS") else "cpu"


def _urgency(pack: PlannedPack) -> int:
    """Sources first, since ports wait for them; ports last."""
    return 0 if pack.runs[0].spec.runs_on == "sources" else pack.stage
