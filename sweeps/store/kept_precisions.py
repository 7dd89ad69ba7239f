"""`KeptPrecisions`: what precision `auto` stands for in an output folder, by base."""

from collections.abc import Mapping

from pydantic import TypeAdapter

from portal.config import Precision
from portal.storage.atomic import write_json_atomic
from portal.storage.paths import Folder
from sweeps.store.json_record import read_record

_FILE = "precisions.json"
_RECORD = TypeAdapter(dict[str, Precision])


class KeptPrecisions:
    """precisions.json below `out`, kept for ever: whatever machine continues there, runs keep their keys."""

    def __init__(self, out: Folder) -> None:
        self._path = out / _FILE

    def read(self) -> dict[str, Precision]:
        """The precision of each base that was resolved here; nothing before the first launch."""
        try:
            return _RECORD.validate_python(read_record(self._path) or {})
        except ValueError:  # also pydantic's; the record's own advice is to delete its folder, here the study
            raise ValueError(f"{self._path}: not precisions by base; delete it and run again") from None

    def keep(self, found: Mapping[str, Precision]) -> None:
        """Add bases that are new here; ValueError for one that was resolved otherwise before."""
        kept = self.read()
        for base, precision in found.items():
            if kept.get(base, precision) != precision:
                raise ValueError(
                    f"base {base!r}: precision 'auto' is {kept[base]!r} in {self._path.parent}, not "
                    f"{precision!r}; name that folder as `out` where study or request is made"
                )
        if not found.keys() <= kept.keys():
            write_json_atomic(self._path, {**found, **kept})
