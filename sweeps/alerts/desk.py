"""`AlertDesk`: where everything that one launch, or one search, has to tell is sent from."""

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from rich.console import Console

from portal.messages import one_line
from portal.storage.paths import Folder
from sweeps.alerts.alert import Alert, AlertKind
from sweeps.alerts.alerts import Alerts
from sweeps.alerts.courier import Courier

END_PATIENCE_S = 60.0
"""Most seconds that the end of a launch waits for alerts on their way."""


class AlertDesk:
    """Sends alerts between `with` and its end, the last of which says how the launch or the search ended.

    `token` tells its alerts from those of others; `study` and `out` stand in each of them. What was delivered
    is kept in `record`, by default in `out`; ValueError on entry where that is damaged. `outcome`, which
    others may set, says at the end how far it came. Without targets it does nothing.
    """

    def __init__(
        self,
        alerts: Alerts,
        study: str,
        out: Folder,
        token: str,
        console: Console,
        *,
        what: Literal["launch", "search"] = "launch",
        record: Folder | None = None,
    ) -> None:
        self._alerts, self._study, self._out, self._token = alerts, study, out, token
        self._console, self._what, self._record = console, what, out if record is None else record
        self._courier: Courier | None = None
        self._lock = threading.Lock()  # a watch looks at the budget while a launch says what it holds
        self._spent_s, self._since, self._devices = 0.0, 0.0, 0.0  # device-seconds until `_since`
        self.outcome: Callable[[], str] = str

    @property
    def is_open(self) -> bool:
        """Whether anyone is told anything."""
        return self._courier is not None

    def __enter__(self) -> "AlertDesk":
        if self._alerts.targets:
            self._courier = Courier(self._record, self._alerts.targets, self._console)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if self._courier is None:
            return
        how = "ended"
        if error is not None:
            is_stopped = isinstance(error, KeyboardInterrupt)
            how = "was interrupted" if is_stopped else f"broke off ({one_line(error, most=200)})"
        text = f"the {self._what} {how}"
        try:
            counts = self.outcome()
        except (OSError, ValueError, sqlite3.Error) as trouble:  # the end is told without them
            counts = f"how far it came is not known ({one_line(trouble, most=200)})"
        self.send("ended", f"ended {self._token}", f"{text}; {counts}" if counts else text)
        self._courier.close(END_PATIENCE_S)

    def holds(self, devices: float) -> None:
        """From now on so many devices are held."""
        with self._lock:
            now = time.monotonic()
            self._spent_s += (now - self._since) * self._devices
            self._since, self._devices = now, devices

    def check_budget(self) -> None:
        """Tell once that the budget is spent, when it is."""
        budget = self._alerts.budget
        if budget is None:
            return
        with self._lock:
            spent_s = self._spent_s + (time.monotonic() - self._since) * self._devices
        if spent_s / 3600 * budget.price > budget.limit:
            text = f"the {self._what} has cost more than {budget.limit:g}; it goes on"
            self.send("budget", f"budget {self._token}", text)

    def send(self, kind: AlertKind, key: str, text: str) -> None:
        """Send the alert, unless one with this key was sent before."""
        assert self._courier is not None
        self._courier.send(Alert(kind, key, f"{self._study}: {text}", self._study, str(self._out)))

    def warn(self, trouble: str) -> None:
        """Say on the console what keeps alerts from being found."""
        self._console.print(f"alerts: {trouble}", markup=False)
