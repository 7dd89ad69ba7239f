"""`BaseRecords`: which weights the studies of an output folder were begun with."""

from portal.config import BaseRef
from portal.frozen import content_key
from portal.storage.atomic import write_json_atomic
from portal.storage.paths import Folder
from sweeps.store.json_record import read_record


class BaseRecords:
    """bases/<key>.json below `out`: the digest of each hub base's weights, kept for ever."""

    def __init__(self, out: Folder) -> None:
        self._out = out

    def check(self, base: BaseRef, digest: str) -> None:
        """Record the digest of a base's weights, or compare it with the record: ValueError if they differ."""
        path, recorded = self._path(base), self.recorded(base)
        if recorded is None:
            write_json_atomic(path, {"base": base.name, "revision": base.revision, "weights_sha256": digest})
        elif recorded != digest:
            raise ValueError(
                f"base {base.name!r}: its weights are not those the study began with ({path}); the copy in "
                "the hub's cache is damaged: delete it, and it is fetched anew"
            )

    def recorded(self, base: BaseRef) -> str | None:
        """The digest of a hub base's weights that the first study here found."""
        record = read_record(self._path(base))
        return None if record is None else record["weights_sha256"]

    def _path(self, base: BaseRef) -> Folder:
        return self._out / "bases" / f"{content_key(f'{base.name} {base.revision}')}.json"
