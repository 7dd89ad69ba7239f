"""`AlertWatch`: looks at an output folder while a launch works on it, and says what people should know."""

import hashlib
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from portal.messages import one_line
from portal.storage.object_store import ObjectPath
from sweeps.alerts.alert import Alert, AlertKind
from sweeps.alerts.courier import Courier, check_target
from sweeps.store.pack_store import PackStore
from sweeps.store.run_store import RunStore
from sweeps.store.session import Session
from sweeps.store.study_status import RunFailure, StudyStatus
from sweeps.study.expand import Study

LOOK_S, LOOK_AT_STORE_S = 5.0, 60.0
"""Seconds between looks at a folder, and at an object store, where each is many requests."""
END_PATIENCE_S = 60.0
"""Most seconds that the end of a launch waits for alerts on their way."""
_LISTED = 3
"""Runs of one look that an alert names; of more it says how many."""


@dataclass(frozen=True)
class Budget:
    """The most that a launch should cost, at a price of a device-hour; what it holds costs, used or not."""

    limit: float
    price: float

    def __post_init__(self) -> None:
        if not (0 < self.limit < math.inf and 0 < self.price < math.inf):
            raise ValueError(f"budget {self.limit:g} and price {self.price:g} are to be numbers above 0")


@dataclass(frozen=True)
class Alerts:
    """Where alerts of a launch go, URLs and commands of the shell, and what it should cost at most."""

    targets: tuple[str, ...] = ()
    budget: Budget | None = None

    def __post_init__(self) -> None:
        for target in self.targets:
            check_target(target)
        if self.budget is not None and not self.targets:
            raise ValueError("a budget without --alert is told to nobody")


class AlertWatch:
    """Sends alerts of a launch between `with` and its end: runs that fail, workers that are lost, the budget.

    Failures that were there before it began are no news. Without targets it does nothing.
    """

    def __init__(
        self, study: Study, session: Session, store: RunStore, alerts: Alerts, console: Console
    ) -> None:
        self._study, self._session, self._store, self._console = study, session, store, console
        self._alerts = alerts
        self._courier: Courier | None = None
        self._status: StudyStatus | None = None
        self._known: set[str] = set()
        self._told = 0  # alerts of failures
        self._held: tuple[float, float] | None = None  # since when, and how many devices
        self._troubles: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="portal-alert-watch", daemon=True)

    def __enter__(self) -> "AlertWatch":
        if self._alerts.targets:
            self._known = {*self._failed()}
            self._courier = Courier(self._store.out, self._alerts.targets, self._console)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if self._courier is None:
            return
        self._stop.set()
        self._thread.join(LOOK_S)
        self._try_to_look()
        counts = ""
        if self._status is not None:
            done, failed = len(self._status.done), self._status.counts["failed"]
            counts = f"; {done} of {self._status.total} runs are done, {failed} failed"
        how = "ended"
        if error is not None:
            is_stopped = isinstance(error, KeyboardInterrupt)
            how = "was interrupted" if is_stopped else f"broke off ({one_line(error, most=200)})"
        self._send("ended", "ended", f"the launch {how}{counts}")
        self._courier.close(END_PATIENCE_S)

    def holds(self, devices: float) -> None:
        """From now on the launch holds so many devices."""
        self._held = time.monotonic(), devices

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
            self._send(
                "failed", f"failed {digest} {self._told}", f"{count} failed: {'; '.join(causes)}{more}"
            )
        for pack in self._session.lost_packs():
            self._send("lost", f"lost {pack}", f"a worker was lost{self._trained_in(pack)}")
        budget, held = self._alerts.budget, self._held
        if budget is not None and held is not None:
            since, devices = held
            if (time.monotonic() - since) / 3600 * devices * budget.price > budget.limit:
                self._send("budget", "budget", f"the launch has cost more than {budget.limit:g}; it goes on")

    def _failed(self) -> dict[str, RunFailure]:
        """Runs that failed by themselves: what people ask for is no news to them."""
        return {key: failure for key, failure in self._now().failed.items() if failure.asked is None}

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
                self._console.print(f"alerts: {trouble}", markup=False)

    def _send(self, kind: AlertKind, key: str, text: str) -> None:
        """Send the alert, once for this launch."""
        assert self._courier is not None
        study, out = self._study.name, str(self._store.out)
        self._courier.send(Alert(kind, f"{key} {self._session.token}", f"{study}: {text}", study, out))
