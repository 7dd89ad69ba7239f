"""Adapters that nothing trains: none at all, one from a mean latent, carried latents, transferred LoRAs."""

from collections.abc import Sequence
from pathlib import Path

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.config import RunConfig
from portal.hypernet import Factors
from portal.learners.base import Bases, Learner, RowTables, Start
from portal.learners.transfer import Transferred, transfer_loras
from portal.storage.atomic import write_json_atomic

TRANSFER_RECORD = "transfer.json"


def frozen_base(run: RunConfig, bases: Bases, rows: RowTables, start: Start | None) -> "FixedAdapters":
    """The base as it is, without adapters."""
    return FixedAdapters(run, bases, rows, {})


def mean_latent(run: RunConfig, bases: Bases, rows: RowTables, start: Start | None) -> "FixedAdapters":
    """Every slot has the adapter that a port generates from the mean latent of its calibrated tasks.

    That is a control of what tasks' own latents add.
    """
    slots, device = len(run.data.tasks), bases[run.bases[0].name].device
    factors = {
        group: (a.to(device).expand(slots, -1, -1, -1), b.to(device).expand(slots, -1, -1, -1))
        for group, (a, b) in _port(run, bases, start).mean_factors().items()
    }
    return FixedAdapters(run, bases, rows, factors)


def carried_latents(run: RunConfig, bases: Bases, rows: RowTables, start: Start | None) -> "FixedAdapters":
    """Every slot has the adapter that a port generates from its task's latent, taught on another base.

    The port saw no row of these tasks. In the control every task has the latent of the next one in the
    config's order, the last that of the first.
    """
    port, tasks = _port(run, bases, start), run.data.tasks
    assert start is not None
    assert start.latents is not None, "it starts from taught latents"
    lenders = next_tasks(tasks, run.method) if run.spec.lends_latents else tasks
    carried = port.with_latents_of(Artifact.load(start.latents))
    return FixedAdapters(run, bases, rows, carried.factors(tuple(lenders)))


def transferred_loras(run: RunConfig, bases: Bases, rows: RowTables, start: Start | None) -> "FixedAdapters":
    """Adapters carried over from another base, or one of the controls beside them."""
    transferred = transfer_loras(run, bases[run.bases[0].name], start)
    return FixedAdapters(run, bases, rows, transferred.factors, transferred)


class FixedAdapters(Learner):
    """Ready-made adapters, and how large those that are transferred are beside the source's."""

    def __init__(
        self,
        run: RunConfig,
        bases: Bases,
        rows: RowTables,
        factors: Factors,
        transferred: Transferred | None = None,
    ) -> None:
        super().__init__(run, bases, rows)
        self._factors = {group: (a.to(self.device), b.to(self.device)) for group, (a, b) in factors.items()}
        self._transferred = transferred

    def factors(self, base: str) -> Factors:
        return self._factors

    def norm_ratio(self, task: str) -> float | None:
        return None if self._transferred is None else self._transferred.mean_norm_ratio(task)

    def restore_kept(self) -> dict[str, int]:
        """A frozen base leaves nothing."""
        return super().restore_kept() if self.run.spec.artifact else {}

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """One PEFT adapter per task, and a transfer's norm ratios."""
        super().save_artifact(folder, record)
        if self._transferred is not None:
            write_json_atomic(folder / TRANSFER_RECORD, self._transferred.to_json())


def next_tasks(tasks: Sequence[str], method: str) -> Sequence[str]:
    """For every task the next one, for the last the first: whose place a mismatched one takes.

    ValueError, which names the method, for a single task.
    """
    if len(tasks) < 2:
        raise ValueError(f"method {method!r} exchanges what belongs to tasks; the run has one task")
    return [*tasks[1:], tasks[0]]


def _port(run: RunConfig, bases: Bases, start: Start | None) -> Artifact:
    assert start is not None, "it starts from a port"
    port = Artifact.load(start.folder)
    port.check_base(bases[run.bases[0].name])
    return port
