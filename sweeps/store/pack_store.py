"""`PackStore`: which runs are stepped together, and what is saved of them until all are finished.

packs/<key>/pack.json, state/<sequence>/, parts/, answers/
"""

from collections.abc import Sequence

from portal.frozen import content_key
from portal.storage.atomic import write_json_atomic
from portal.storage.paths import Folder, matching
from sweeps.store.json_record import checked_key, read_record

_PACK = "pack.json"
STATE, PARTS, ANSWERS = UNFINISHED = ("state", "parts", "answers")
"""Folders of a pack: checkpoints, scores and answers, which nobody needs once its runs are finished."""


class PackStore:
    """The pack folders below `out`."""

    def __init__(self, out: Folder) -> None:
        self.out = out

    def pack_folder(self, key: str) -> Folder:
        """The folder of the pack; there may be none yet."""
        return self.out / "packs" / checked_key(key)

    def recorded_packs(self) -> dict[str, tuple[str, ...]]:
        """The run keys of every pack that was ever started, by pack key, in a fixed order."""
        keys = [path.parent.name for path in matching(self.out, f"packs/*/{_PACK}")]
        return {key: members for key in keys if (members := self.recorded_pack(key)) is not None}

    def recorded_pack(self, key: str) -> tuple[str, ...] | None:
        """The run keys of one pack; None for a pack that was never started."""
        path = self.pack_folder(key) / _PACK
        record = read_record(path)
        if record is None:
            return None
        runs = record.get("runs")
        if not isinstance(runs, list) or not all(isinstance(run, str) for run in runs):
            raise ValueError(f"{path}: not a pack's record; delete the folder {path.parent} and run again")
        return tuple(runs)

    def record_pack(self, key: str, runs: Sequence[str]) -> None:
        """Fix who is in the pack, so that a resumed pack has the same rounding as an unbroken one."""
        path = self.pack_folder(key) / _PACK
        if not path.exists():
            write_json_atomic(path, {"runs": list(runs)})

    def newest_checkpoints(self) -> dict[str, str]:
        """The name of every unfinished pack's newest checkpoint, by pack key."""
        states = matching(self.out, f"packs/*/{STATE}/[0-9]*")
        return {path.parent.parent.name: path.name for path in states}

    def num_answer_pieces(self, key: str) -> int:
        """How many pieces of answers evaluations of the pack have left."""
        return len(matching(self.pack_folder(key) / ANSWERS, "*/*.json"))

    def newest_checkpoint(self, key: str) -> str:
        """The name of the pack's newest checkpoint, `0` before the first."""
        states = matching(self.pack_folder(key) / STATE, "[0-9]*")
        return states[-1].name if states else "0"


def pack_key(keys: Sequence[str]) -> str:
    """Identity of a pack: the runs in it, in order."""
    return content_key("\n".join(keys))
