"""`Circumstances`: what the process that finishes a run alone knows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Circumstances:
    """How the process computed, and what it adapted.

    Another number of CPU `threads` adds in another order. `operations` of the bases that it held are plain or
    fused, which round differently; in bf16 on a CPU that is also the backward of attention. `coverage` is a
    sentence for each base where a module that the run adapts is not in every layer. `peak_bytes` are the most
    memory that it has held: on a GPU since the pack began, of torch's tensors, else of the whole process.
    `log` names the file in the folder's `logs` that has its records, and `device` the kind of device. Runs of
    earlier versions did not record all of it.
    """

    threads: int | None = None
    operations: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    peak_bytes: int | None = None
    log: str | None = None
    device: str | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Circumstances":
        """From what `to_json` gave, of this version or an earlier one."""
        return cls(
            record.get("threads"),
            tuple(record.get("operations", ())),
            tuple(record.get("coverage", ())),
            record.get("peak_bytes"),
            record.get("log"),
            record.get("device"),
        )

    def to_json(self) -> dict[str, Any]:
        """What a run's folder keeps."""
        return {name: value for name, value in asdict(self).items() if value}
