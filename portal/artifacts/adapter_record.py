"""`AdapterRecord`: `portal_base.json` beside a PEFT adapter: what the adapter is for, and its digests."""

from pathlib import Path

from pydantic import ConfigDict, Field

from portal.storage.paths import file_sha256
from portal.storage.records import Record, check_unaltered

ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTER_RECORD = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "portal_base.json",
)
GGUF_ADAPTER = "adapter.gguf"
"""An adapter's file for llama.cpp, in its folder."""


class AdapterRecord(Record):
    """The base that an adapter is for, by name and revision; its task; the sha256 of its files by name.

    Keys of newer versions are passed over, and other tools pass over the whole file.
    """

    WHAT = "the record of an adapter"
    REMEDY = "export the adapter anew"
    model_config = ConfigDict(frozen=True, extra="ignore")

    base: str
    revision: str | None
    task: str
    files: dict[str, str] = Field(default_factory=dict)

    def is_for(self, other: "AdapterRecord") -> bool:
        """Whether both adapters are of one task on one base."""
        return (self.task, self.base, self.revision) == (other.task, other.base, other.revision)

    def __str__(self) -> str:
        revision = "" if self.revision is None else f" (revision {self.revision[:12]})"
        return f"task {self.task!r} on base {self.base!r}{revision}"


def read_adapter_record(folder: Path) -> AdapterRecord | None:
    """The record beside an adapter; None where there is none. ValueError when it is damaged."""
    return AdapterRecord.read(folder / ADAPTER_RECORD)


def check_adapter_files(folder: Path, record: AdapterRecord | None) -> None:
    """ValueError where a file is not as its run or its record left it; adapters with neither pass."""
    names = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTER_RECORD)
    digests = {name: file_sha256(folder / name) if (folder / name).is_file() else None for name in names}
    check_unaltered(folder, digests)
    for name, digest in (record.files if record is not None else {}).items():
        if digests.get(name) != digest:
            raise ValueError(
                f"{folder / name}: edited or damaged since {ADAPTER_RECORD} was written; export the adapter "
                "anew"
            )


def check_place(folder: Path, wanted: AdapterRecord) -> None:
    """ValueError unless `folder` is new, empty, or holds an adapter of the same task on the same base."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    held = read_adapter_record(folder)
    if held is None and not (folder / ADAPTER_CONFIG).is_file():
        raise ValueError(f"{folder}: holds other files; choose an empty folder with --out")
    if held is None:
        raise ValueError(
            f"{folder}: holds an adapter that portal has not exported; delete it, or choose another --out"
        )
    if not wanted.is_for(held):
        raise ValueError(f"{folder}: holds the adapter of {held}; delete it, or choose another --out")
