"""`Launch`: the rounds of lanes in which a driver brings a study to its end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rich.console import Console

from portal.data.token_cache import count_truncated
from portal.storage.paths import Folder, local_place
from sweeps.launch.executors import Executor, LaneRound
from sweeps.launch.lane_layout import LaneLayout
from sweeps.launch.lane_plan import LanePlan, plan_lanes
from sweeps.launch.progress import ProgressLine
from sweeps.launch.resources import Resources
from sweeps.launch.tokenize import prepare_rows
from sweeps.planning.checks import CheckedStudy
from sweeps.planning.plan import Plan, PlannedPack, Planner
from sweeps.sinks.tracking import TrackerSupervisor
from sweeps.store.output_folder import KeptDevice
from sweeps.store.run_store import PackStore, RunStore
from sweeps.store.session import Session
from sweeps.store.study_status import RunRequests, StudyStatus
from sweeps.study.expand import Study
from sweeps.worker.job import LaneJob, PackJob

MAX_IDLE_ROUNDS = 3
"""Most rounds of lanes in a row that save nothing new: workers may die, but not without end."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A driver's work on a checked study, under the lease of its token."""

    checked: CheckedStudy
    out: Folder
    token: str  # of the driver's lease
    executor: Executor
    resources: Resources
    console: Console
    trackers: TrackerSupervisor
    threads: int = 1
    named_for_large_bases: bool = False
    """Whether bases are large, and the kind of device that the `resources` have was asked for by name."""
    _recorded: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False)
    retried: list[str] = field(default_factory=list, init=False)
    """Runs that people had tried again meanwhile."""

    @property
    def study(self) -> Study:
        return self.checked.study

    @property
    def run_store(self) -> RunStore:
        return RunStore(self.out)

    @property
    def pack_store(self) -> PackStore:
        return PackStore(self.out)

    @property
    def session(self) -> Session:
        return Session(self.out, self.token)

    def run(self, status: StudyStatus) -> list[str]:
        """Run lanes until nothing is left that can be done, a round more when workers were lost.

        `status` is the study's status now. Returns the errors that ended lanes of the last round early.
        """
        self._recorded.update(self.pack_store.recorded_packs())
        rows = self._prepare_rows()
        plan, layout = self._plan(status)
        lane_s, errors, idle = plan.lane_seconds(layout.count), list[str](), 0
        KeptDevice(self.out).keep(self.resources.device, named_for_large_bases=self.named_for_large_bases)
        with self._progress(status):
            while idle < MAX_IDLE_ROUNDS and plan.status.trainable(self.study.runs, lost_too=False):
                before = self._saved(plan.status)
                self._record(plan.packs)
                self._run_round(self._lane_jobs(plan, layout, rows), lane_s)
                errors = [error for lane in range(layout.count) if (error := self.session.lane_error(lane))]
                self.retried.extend(self.carry_out_requests())
                status = plan.status.refreshed(self.run_store, self.study.runs)
                idle = idle + 1 if self._saved(status) == before else 0
                plan, layout = self._plan(status)
        return list(dict.fromkeys(errors))

    def carry_out_requests(self) -> list[str]:
        """Do what people ask of the study's runs, while no lane works; those that are to be tried again."""
        return RunRequests(self.out).carry_out(self.study.by_key, local_place(self.out) / "logs")

    def _plan(self, status: StudyStatus) -> LanePlan:
        """The packs that are left, and as many lanes as there are slots, packs and memory for."""
        return plan_lanes(self._planner, status, self.resources.hardware, self.resources.nodes)

    @cached_property
    def _planner(self) -> Planner:
        """What it predicts is kept for further rounds."""
        return Planner(self.checked, self._recorded)

    def _record(self, packs: Sequence[PlannedPack]) -> None:
        """Write down who is in each pack: a launch again meets the same ones."""
        for pack in packs:
            if pack.key not in self._recorded:
                self.pack_store.record_pack(pack.key, pack.members)
                self._recorded[pack.key] = pack.members

    def _saved(self, status: StudyStatus) -> tuple[object, ...]:
        """What is saved of the study: its finished runs and the packs' newest checkpoints."""
        return status.done, tuple(status.failed), self.pack_store.newest_checkpoints()

    def _run_round(self, jobs: Sequence[LaneJob], lane_s: float | None) -> None:
        self.executor.run(
            LaneRound(
                jobs=jobs,
                resources=self.resources,
                scratch=self.out / "scratch" / self.token,
                lane_s=lane_s,
                poll=self.trackers.poll,
            )
        )
        self.session.end_round()

    def _progress(self, status: StudyStatus) -> ProgressLine:
        finished = (*status.done, *status.failed_for_good)
        return ProgressLine(
            self.study.runs, self.checked.costs, self.run_store, self.console, finished=finished
        )

    def _prepare_rows(self) -> dict[str, Folder]:
        """The token caches by base; says how long they took, and how many prompts were cut."""
        started, study = time.monotonic(), self.study
        rows = prepare_rows(
            study.suite,
            study.tasks,
            study.bases,
            self.out,
            max_prompt=study.settings.max_prompt,
            data_hash=study.runs[0].data.data_hash,
            encode=self.executor.encode,
        )
        spent = time.monotonic() - started
        self.console.print(
            f"prepare: rows of {len(study.tasks)} tasks for {len(rows)} bases in {spent:.1f} s"
        )
        for base, folder in rows.items():
            if cut := count_truncated(folder):
                limit = study.settings.max_prompt
                self.console.print(f"prepare: {cut} prompts for {base} are cut to {limit} tokens")
        return rows

    def _lane_jobs(self, plan: Plan, layout: LaneLayout, rows: dict[str, Folder]) -> list[LaneJob]:
        """One job per lane; all jobs share one object per pack."""
        packs = {pack.key: _pack_job(plan, pack) for pack in plan.packs}
        return [
            LaneJob(
                out=str(self.out.resolve()),
                token=self.token,
                lane=lane,
                packs=tuple(packs[pack.key] for pack in order if layout.takes(lane, len(pack.bases))),
                rows={base: str(folder.resolve()) for base, folder in rows.items()},
                device=self.resources.device,
                gpus_per_worker=self.resources.gpus_per_worker or 1.0,
                threads=self.threads,
                activations=self.study.settings.activations,
                workers=layout.workers(lane),
                teams=tuple(range(layout.teams)) if lane >= layout.teams else (),
                start=layout.start(lane),
            )
            for lane, order in enumerate(plan.lanes(layout.count))
        ]


def _pack_job(plan: Plan, pack: PlannedPack) -> PackJob:
    keys = tuple(run.key for run in pack.runs)
    return PackJob(pack.key, pack.stage, keys, pack.needs, pack.bases, plan.forward_tokens(pack))
