"""`StudyEvents`: what happens to a study in its output folder, as one stream of events."""

from collections.abc import Sequence
from dataclasses import dataclass

from portal.config import RunConfig
from sweeps.results.live import evaluated_parts
from sweeps.store.run_store import PackStore, RunStore
from sweeps.store.session import Session
from sweeps.store.study_status import RunFailure, StudyStatus


@dataclass(frozen=True)
class Evaluated:
    """The run has new evaluations, and goes on."""

    run: RunConfig


@dataclass(frozen=True)
class Ended:
    """The run has ended; without a failure it is done."""

    run: RunConfig
    failure: RunFailure | None


@dataclass(frozen=True)
class WorkerLost:
    """The worker of a pack was lost, which trained these runs."""

    pack: str
    runs: tuple[RunConfig, ...]


Event = Evaluated | Ended | WorkerLost


class StudyEvents:
    """The events of these runs, parents first, each once; a failed run that is tried again may end again.

    Workers are those of the session's driver.
    """

    def __init__(self, store: RunStore, runs: Sequence[RunConfig], session: Session | None = None) -> None:
        self.store, self.session, self.status = store, session, StudyStatus({}, {}, {})
        self._runs = {run.key: run for run in runs}
        self._parts: dict[str, int] = {}
        self._lost: set[str] = set()

    def look(self) -> list[Event]:
        """What has happened since the last look; the first one finds all that is there.

        ValueError or OSError where the folder cannot be read: the next look finds what this one missed.
        """
        parts = evaluated_parts(self.store)
        before, now = self.status, self.status.refreshed(self.store, [*self._runs.values()])
        lost = [] if self.session is None else self.session.lost_packs()
        events: list[Event] = [self._worker_lost(pack) for pack in lost if pack not in self._lost]
        done = set(now.done) - set(before.done)
        for key, run in self._runs.items():
            if key in done or (key in now.failed and now.failed[key] != before.failed.get(key)):
                events.append(Ended(run, now.failed.get(key)))
            elif parts.get(key, 0) != self._parts.get(key, 0):
                events.append(Evaluated(run))
        self.status, self._parts = now, parts
        self._lost.update(lost)
        return events

    def _worker_lost(self, pack: str) -> WorkerLost:
        members = PackStore(self.store.out).recorded_pack(pack) or ()
        return WorkerLost(pack, tuple(self._runs[key] for key in members if key in self._runs))
