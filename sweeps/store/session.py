"""`Session`: what the lanes of one driver tell each other and the driver. Nothing of it outlives the driver.

claims/<token>/      which lane works on which pack
stops/               runs that the driver wants to end early
progress/            how far each lane is, and what ended it early
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from portal.storage.atomic import (
    create_exclusive,
    remove_folder,
    write_bytes_atomic,
    write_json_atomic,
    write_note,
)
from portal.storage.paths import Folder, matching
from sweeps.store.run_store import checked_key, read_record

SESSION_FOLDERS = ("claims", "progress", "scratch", "stops")
"""Folders of the driver that works now. `scratch` holds what an executor keeps of its own."""


class ClaimLost(RuntimeError):  # noqa: N818 - the established name of the event
    """Another worker has this pack now."""


@dataclass(frozen=True)
class Claim:
    """A pack taken by one attempt of one lane."""

    path: Folder
    lane: int
    attempt: str

    def check(self) -> None:
        """Raises ClaimLost when another attempt or lane has the pack."""
        holder = read_record(self.path)
        if holder is None or holder["attempt"] != self.attempt:
            raise ClaimLost(f"{self.path.stem}: lane {self.lane} no longer has this pack")


class Session:
    """The claims, stops and progress of the driver whose lease has that token."""

    def __init__(self, out: Folder, token: str) -> None:
        self.token = token
        self._out, self._claims = out, out / "claims" / checked_key(token)

    def claim(self, pack: str, lane: int, attempt: str) -> Claim | None:
        """The pack for this attempt of this lane, or None while another lane has it."""
        path = self._claims / f"{checked_key(pack)}.json"
        claim = Claim(path, lane, attempt)
        content = json.dumps({"lane": lane, "attempt": attempt}).encode()
        if not create_exclusive(path, content):
            holder = read_record(path)
            if holder is None or holder["lane"] != lane:
                return None
            write_bytes_atomic(path, content)
        return claim

    def claimed(self) -> set[str]:
        """Keys of the packs that lanes have taken."""
        return {path.stem for path in matching(self._claims, "*.json")}

    def claimed_by(self, lane: int) -> list[str]:
        """Keys of the packs that the lane has taken."""
        paths = matching(self._claims, "*.json")
        return [path.stem for path in paths if (read_record(path) or {"lane": None})["lane"] == lane]

    def free_claim(self, pack: str, saved: str) -> bool:
        """Let another lane take the pack of a lane that is gone; `saved` says what is saved of the pack.

        False when it was lost before and the same was saved then: it would be lost without end.
        """
        path = self._claims / f"{checked_key(pack)}.json"
        lost = path.with_suffix(".lost")
        if lost.exists() and lost.read_text() == saved:
            return False
        write_note(lost, saved)
        path.unlink(missing_ok=True)
        return True

    def lost_packs(self) -> list[str]:
        """Keys of the packs whose lane has died at least once."""
        return [path.stem for path in matching(self._claims, "*.lost")]

    def note_team(self, lane: int, state: str) -> None:
        """Note that the team of a lane is placed or has ended: `teams placed` or `teams ended`."""
        write_note(self._claims / f"{state.replace(' ', '-')}-{lane}", "")

    def teams_have(self, lanes: Iterable[int], state: str) -> bool:
        """Whether all these lanes are in the state, or have ended."""
        found = {path.name for path in matching(self._claims, "teams-*")}
        return all(
            f"{state.replace(' ', '-')}-{lane}" in found or f"teams-ended-{lane}" in found for lane in lanes
        )

    def end_round(self) -> None:
        """Drop claims and what is noted of teams: no lane works, and those of another round begin anew."""
        for path in (*matching(self._claims, "teams-*"), *matching(self._claims, "*.json")):
            path.unlink(missing_ok=True)

    def stops(self) -> set[str]:
        """Keys of the runs that must not go on."""
        return {path.name for path in (self._out / "stops").glob("*")}

    def write_progress(self, lane: int, progress: dict[str, Any]) -> None:
        """Write how far the lane is: whole, but not flushed to disk, since it is only for people."""
        write_note(self._out / "progress" / f"lane-{lane}.json", json.dumps(progress))

    def write_lane_error(self, lane: int, error: str) -> None:
        """Record the lane's fatal error; the launch result shows it for runs without a failure marker."""
        write_json_atomic(self._out / "progress" / f"error-{lane}.json", {"error": error})

    def lane_error(self, lane: int) -> str | None:
        """The lane's fatal error; None when there was none, or its process was killed."""
        record = read_record(self._out / "progress" / f"error-{lane}.json")
        return None if record is None else record["error"]


def read_progress(out: Folder) -> list[dict[str, Any]]:
    """How far the lanes of the present driver are, as they wrote it last."""
    records = (read_record(path) for path in matching(out, "progress/lane-*.json"))
    return [record for record in records if record is not None]


def request_stop(out: Folder, keys: Iterable[str]) -> None:
    """Ask the workers of the present driver to leave these runs after their next evaluation."""
    for key in keys:
        write_note(out / "stops" / checked_key(key), "")


def clear_session_files(out: Folder) -> None:
    """Drop what earlier drivers have left: claims, progress, stops and Ray's own state."""
    for name in SESSION_FOLDERS:
        remove_folder(out / name)
