"""`Circumstances`: what the process that finishes a run alone knows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Circumstances:
    """How the process computed, and what it adapted.

    Another number of CPU `threads` adds in another order. `operations` of the bases that it held are plain or
    fused, which round differently. `coverage` is a sentence for each base where a module that the run adapts
    is not in every layer. Runs of earlier versions did not record all of it.
    """

    threads: int | None = None
    operations: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Circumstances":
        """From what `to_json` gave, of this version or an earlier one."""
        lists = (tuple(record.get(name, ())) for name in ("operations", "coverage"))
        return cls(record.get("threads"), *lists)

    def to_json(self) -> dict[str, Any]:
        """What a run's folder keeps."""
        return {name: value for name, value in asdict(self).items() if value}
