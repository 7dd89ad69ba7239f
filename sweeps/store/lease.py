"""`Lease`: the one driver of an output folder. `Fence`: what keeps a dead driver's workers from committing.

The lease file names its holder (host, pid, boot id, process start). A holder on this host is looked up in
/proc; one elsewhere is alive while its beat counter moves. Every lease has a fresh token: workers commit only
while the file still holds the token that they were started with.
"""

import json
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from portal.storage.atomic import create_exclusive, only_one, read_replaced, write_json_atomic, write_note
from portal.storage.object_store import ObjectPath
from portal.storage.paths import Folder, matching
from portal.storage.records import read_json

_log = logging.getLogger(__name__)
_LEASE, _CANCEL = "driver.json", "cancel.json"
BEAT_S = 1.0
REMOTE_WATCH_S = 4.0
"""How long a second driver watches the beat of a holder on another host before it calls it dead."""
SILENCE_S = 30.0
"""A worker that sees no beat for so long takes its driver for dead."""
TAKEOVERS = "takeovers"
"""Folder of the tickets by which a dead holder's lease is taken over in an object store (see `_take`)."""
CANCEL_S = 60.0
"""How long `request_cancel` waits for a driver to stop."""


class InUse(ValueError):  # noqa: N818 - what the user is told
    """Another driver works on the output folder."""


class LeaseLost(OSError):  # noqa: N818 - the established name of the event
    """The output folder has another driver now, or none: this process must not commit anything."""


class Lease:
    """A held lease. Use `acquire`; leave the `with` block to release it."""

    def __init__(self, out: Folder, token: str) -> None:
        self.token = token
        self._out = out
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="portal-lease", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the folder back; workers that still run can no longer commit."""
        self._stop.set()
        self._thread.join()
        with _guard(self._out):
            if read_holder(self._out).get("token") == self.token:
                (self._out / _LEASE).unlink(missing_ok=True)

    def _beat(self) -> None:
        out = self._out.brief() if isinstance(self._out, ObjectPath) else self._out
        count = 0
        while not self._stop.wait(BEAT_S):
            count += 1
            try:
                _write_beat(out, self.token, count)
                asked = read_json(out / _CANCEL, what="a request to stop", remedy="delete it") or {}
                if asked.get("token") == self.token:
                    (out / _CANCEL).unlink(missing_ok=True)
                    os.kill(os.getpid(), signal.SIGTERM)  # termination_interrupts makes Ctrl-C of it
            except (OSError, ValueError) as error:  # the next beat may work
                _log.warning("the lease's beat could not be written: %s", error)


def acquire(out: Folder, *, waiting: Callable[[str], None] | None = None) -> Lease:
    """Take the lease of `out`; InUse, naming the holder, within 5 s while another driver is alive.

    With `waiting`, wait until the lease is free instead; `waiting` is called once, with what is waited for.
    """
    told = False
    while True:
        try:
            return _acquire(out)
        except InUse as error:
            if waiting is None:
                raise
            if not told:
                waiting(f"waiting: {error}")
            told = True
            time.sleep(BEAT_S)


def _acquire(out: Folder) -> Lease:
    holder = read_holder(out)
    beat = _read_beat(out)
    if holder and not _same_host(holder):
        time.sleep(REMOTE_WATCH_S)
    with _guard(out):
        current = read_holder(out)
        taken = current != {} and current != holder
        if taken or (current and _is_alive(current, moved=_read_beat(out) != beat)):
            holder = current
            raise InUse(
                f"{out}: in use by process {holder.get('pid')} on {holder.get('host')}; "
                "wait for it (--wait), stop it (`portal sweep cancel`), or choose another --out"
            )
        token = secrets.token_hex(8)
        _take(out, current, {**_identity(), "token": token})
        _write_beat(out, token, 0)
    return Lease(out, token)


def _take(out: Folder, current: dict[str, Any], mine: dict[str, Any]) -> None:
    """Write the lease in place of the `current` one, whose holder is gone.

    In an object store, which has no locks, the right to do that is an object that only one can create: the
    lease itself, or a ticket for what is left of a dead holder. InUse when another was first.
    """
    if isinstance(out, ObjectPath):
        content, place = json.dumps(mine).encode(), out / _LEASE
        if not current and create_exclusive(place, content):
            return
        if current:
            tickets = matching(out / TAKEOVERS / current["token"], "*")
            if tickets:  # whoever has one is about to take the lease, unless it has died over that, too
                time.sleep(REMOTE_WATCH_S)
            place = out / TAKEOVERS / current["token"] / f"{len(tickets):06d}"
        if not current or read_holder(out) != current or not create_exclusive(place, content):
            raise InUse(f"{out}: another driver has just begun; wait for it (--wait)")
    write_json_atomic(out / _LEASE, mine)


def read_holder(out: Folder) -> dict[str, Any]:
    """What the lease file says, or {} when there is no lease."""
    return read_json(out / _LEASE, what="a lease", remedy="delete it if no driver runs on this folder") or {}


def request_cancel(out: Folder) -> dict[str, Any] | None:
    """Ask the driver of `out` to stop and wait until it has; its holder, or None when there is no live one.

    The request is a file that the driver looks for with every beat, so it may run on any host. ValueError
    when it does not stop within `CANCEL_S`.
    """
    holder = read_holder(out)
    if not has_live_driver(out):
        return None
    write_json_atomic(out / _CANCEL, {"token": holder["token"]})
    give_up = time.monotonic() + CANCEL_S
    while read_holder(out).get("token") == holder["token"] and has_live_driver(out):
        if time.monotonic() > give_up:
            raise ValueError(
                f"{out}: process {holder['pid']} on {holder['host']} has not stopped within {CANCEL_S:.0f} s"
            )
        time.sleep(BEAT_S / 4)
    return holder


def has_live_driver(out: Folder) -> bool:
    """Whether a driver holds the folder; one on another host is believed."""
    holder = read_holder(out)
    return bool(holder) and _is_alive(holder, moved=True)


class Fence:
    """A worker's view of the lease that it works under."""

    def __init__(self, out: Folder, token: str) -> None:
        self._out, self._token = out, token
        self._seen = _read_beat(out)
        self._since = time.monotonic()

    def check(self) -> None:
        """LeaseLost when the lease is no longer ours or its driver is dead."""
        holder = read_holder(self._out)
        if holder.get("token") != self._token:
            raise LeaseLost(f"{self._out}: the driver that started this worker is gone")
        if _same_host(holder):
            alive = _is_alive(holder, moved=False)
        else:
            beat, now = _read_beat(self._out), time.monotonic()
            if beat != self._seen:
                self._seen, self._since = beat, now
            alive = now - self._since < SILENCE_S
        if not alive:
            raise LeaseLost(f"{self._out}: the driver that started this worker has died")


def _guard(out: Folder) -> AbstractContextManager[None]:
    """Only one process at a time reads and replaces the lease; a store has no locks (see _take)."""
    if isinstance(out, ObjectPath):
        return nullcontext()
    out.mkdir(parents=True, exist_ok=True)
    return only_one(out / ".driver.lock")


def _write_beat(out: Folder, token: str, count: int) -> None:
    write_note(out / ".beat", f"{token} {count}")


def _read_beat(out: Folder) -> str:
    try:
        return read_replaced(out / ".beat").decode()
    except FileNotFoundError:
        return ""


def _identity() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_start": _process_start(os.getpid()),
        "process_space": _process_space(),
        "boot_id": boot_id(),
    }


def _same_host(holder: dict[str, Any]) -> bool:
    """Whether the holder's pid can be looked up here, or its machine has been restarted since."""
    same_space = holder.get("boot_id") == boot_id() and holder.get("process_space") == _process_space()
    restarted = holder.get("host") == socket.gethostname() and holder.get("boot_id") != boot_id()
    return same_space or restarted


def _is_alive(holder: dict[str, Any], *, moved: bool) -> bool:
    if not _same_host(holder):
        return moved
    return holder.get("boot_id") == boot_id() and _process_start(holder["pid"]) == holder["process_start"]


def _process_start(pid: int) -> int | None:
    """Clock ticks from boot to the process's start, None when there is no such process or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _process_space() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def boot_id() -> str:
    """Identity of this machine's run, from one start to the next."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
