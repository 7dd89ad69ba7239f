"""`AlertWatch`: looks at an output folder while a launch works on it, and says what people should know."""

import hashlib
import threading
from collections.abc import Sequence
from typing import Any

from portal.messages import one_line
from portal.storage.object_store import ObjectPath
from sweeps.alerts.desk import AlertDesk
from sweeps.store.run_store import PackStore, RunStore
from sweeps.store.session import Session
from sweeps.store.study_status import RunFailure, StudyStatus
from sweeps.study.expand import Study

LOOK_S, LOOK_AT_STORE_S = 5.0, 60.0
"""Seconds between looks at a folder, and at an object store, where each is many requests."""
_LISTED = 3
"""Runs of one look that an alert names; of more it says how many."""


class AlertWatch:
    """Tells the desk, between `with` and its end, of runs that fail, workers that are lost, and the budget.

    Failures that were there before it began are no news. Where nobody is told anything it does nothing.
    """

    def __init__(self, study: Study, session: Session, store: RunStore, desk: AlertDesk) -> None:
        self._study, self._session, self._store, self._desk = study, session, store, desk
        self._status: StudyStatus | None = None
        self._known: set[str] = set()
        self._told = 0  # alerts of failures
        self._troubles: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="portal-alert-watch", daemon=True)

    def __enter__(self) -> "AlertWatch":
        if self._desk.is_open:
            self._known = {*self._failed()}
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if not self._desk.is_open:
            return
        self._stop.set()
        self._thread.join()  # a look that is under way ends first
        self._try_to_look()

    def counts(self) -> str:
        """How many runs are done and how many failed, as it was seen last."""
        if self._status is None:
            return ""
        done, failed = len(self._status.done), self._status.counts["failed"]
        return f"{done} of {self._status.total} runs are done, {failed} failed"

    def look(self) -> None:
        """Send what is new."""
        failed = self._failed()
        self._known &= failed.keys()  # one that is tried again may fail again
        if new := [key for key in failed if key not in self._known]:
            self._known.update(new)
            digest = hashlib.sha256(" ".join(new).encode()).hexdigest()[:16]
            causes = [f"{self._study.by_key[key].describe()}: {failed[key].cause}" for key in new[:_LISTED]]
            more = f"; and {len(new) - _LISTED} more" if len(new) > _LISTED else ""
            count = "a run" if len(new) == 1 else f"{len(new)} runs"
            self._told += 1
            text = f"{count} failed: {'; '.join(causes)}{more}"
            self._desk.send("failed", f"failed {digest} {self._told} {self._session.token}", text)
        for pack in self._session.lost_packs():
            text = f"a worker was lost{self._trained_in(pack)}"
            self._desk.send("lost", f"lost {pack} {self._session.token}", text)
        self._desk.check_budget()

    def _failed(self) -> dict[str, RunFailure]:
        """Runs that failed by themselves: what people ask for is no news to them, nor what a search stops."""
        stopped = self._session.stops()
        return {
            key: failure
            for key, failure in self._now().failed.items()
            if failure.asked is None and not (failure.lost and key in stopped)
        }

    def _now(self) -> StudyStatus:
        """The status of all runs; those that were done are not looked up again."""
        if self._status is None:
            self._status = StudyStatus.read(self._store, self._study.runs)
        else:
            self._status = self._status.refreshed(self._store, self._study.runs)
        return self._status

    def _trained_in(self, pack: str) -> str:
        """What the pack's worker trained, for people."""
        members: Sequence[str] = PackStore(self._store.out).recorded_pack(pack) or ()
        names = [self._study.by_key[key].describe() for key in members if key in self._study.by_key]
        if not names:
            return ""
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f": {names[0]}{more} go on from their last checkpoint, if they can"

    def _follow(self) -> None:
        pause_s = LOOK_AT_STORE_S if isinstance(self._store.out, ObjectPath) else LOOK_S
        while not self._stop.wait(pause_s):
            self._try_to_look()

    def _try_to_look(self) -> None:
        """Look; what the folder does not give now it may give the next time, and training goes on."""
        try:
            self.look()
        except (OSError, ValueError) as error:
            trouble = one_line(error, most=200)
            if trouble not in self._troubles:  # a look comes every few seconds
                self._troubles.add(trouble)
                self._desk.warn(trouble)
