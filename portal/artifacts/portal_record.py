"""`PortalRecord`: `portal.json` beside an artifact's shared files, what only this project knows of it.

It binds the artifact together: it holds the digests of the other files, of the core, and of every task's
latent under the task's name, so that an edited or mixed artifact is seen. It also says where the artifact
comes from.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from torch import Tensor

from portal.config import BaseRef
from portal.frozen import Frozen
from portal.messages import explain
from portal.storage.checkpoint import below
from portal.storage.paths import Folder

RECORD = "portal.json"
RECORD_VERSION = 1
RowKind = Literal["choice", "written"]
"""What a task's rows hold: choices, or answers that are written."""


class TaskRecord(Frozen):
    """One task of an artifact.

    `calibrated`: the converter was trained on the task's rows. `epoch` is the one whose parameters the
    artifact has, null where that is not known. `kind` says whether its rows have choices or written answers,
    null where that is not recorded, `tested` whether the run that fitted the latent scored it on test rows,
    null where none was fitted or that is not recorded.
    """

    latent_sha256: str
    calibrated: bool
    epoch: int | None = None
    kind: RowKind | None = None
    tested: bool | None = None


class SourceRecord(Frozen):
    """The artifact whose latents and core a port took over; `run` is null where that is not recorded."""

    run: str | None
    base: str
    base_revision: str | None
    weights_sha256: str
    core_sha256: str


class Lineage(Frozen):
    """The run that made an artifact, and what it started from.

    `run` is the run's key, `base` the one that the converter is for, `source_bases` those that a port's
    latents and core were trained on, by the run's config; `versions` are of the packages that the run began
    with.
    """

    run: str
    method: str
    seed: int | None
    base: BaseRef
    source_bases: tuple[str, ...] | None
    source: SourceRecord | None
    versions: dict[str, str]


class PortalRecord(Frozen):
    """`portal.json`. `files` are the sha256 of the others by name, `tasks` go by the tasks' names.

    A reader of an older version than `record_version` can read the record, passing over what it does not
    know, if it has at least `oldest_reader`.
    """

    record_version: int = Field(default=RECORD_VERSION, ge=1)
    oldest_reader: int = Field(default=RECORD_VERSION, ge=1)
    files: dict[str, str]
    core_sha256: str
    tasks: dict[str, TaskRecord]
    lineage: Lineage

    def calibrated(self, tasks: Iterable[str]) -> tuple[str, ...]:
        """Those of `tasks` on whose rows the converter was trained; a task that is not recorded is none."""
        return tuple(task for task in tasks if task in self.tasks and self.tasks[task].calibrated)

    def check_files(self, folder: Folder, digests: Mapping[str, str | None]) -> None:
        """ValueError where a shared file, by its sha256 now, is not the one that was recorded."""
        for name, digest in self.files.items():
            if digests.get(name) != digest:
                raise ValueError(
                    f"{folder / name}: edited or damaged since {RECORD} was written; restore it, or make the "
                    "artifact anew"
                )

    def check_tensors(
        self, folder: Path, latents: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
    ) -> None:
        """ValueError where the core, or the latent of a task, is not the recorded one."""
        if set(latents) != set(self.tasks):
            raise ValueError(
                f"{folder}: {RECORD} records tasks {', '.join(sorted(self.tasks))}, the artifact has "
                f"{', '.join(sorted(latents))}; make the artifact anew"
            )
        for task, latent in latents.items():
            if latent_sha256(latent) != self.tasks[task].latent_sha256:
                raise ValueError(
                    f"{folder}: task {task!r} has another latent than {RECORD} says; make the artifact anew"
                )
        if core_sha256(tensors) != self.core_sha256:
            raise ValueError(f"{folder}: the core is another than {RECORD} says; make the artifact anew")


def read_record(folder: Folder) -> PortalRecord | None:
    """The record of an artifact; None for one of portallib or of an older version of this project.

    ValueError when it is damaged, or too new for this version.
    """
    path = folder / RECORD
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); make the artifact anew") from None
    try:
        return PortalRecord.model_validate(_known_part(path, raw))
    except ValidationError as error:
        raise ValueError(f"{path}: not the record of an artifact: {explain(error, PortalRecord)}") from None


def core_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hex sha256 over the sorted names, the shapes and the fp32 values of the tensors `core.*`.

    A port has the digest of its source.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(below(tensors, "core.").items()):
        digest.update(json.dumps([name, list(tensor.shape)]).encode())
        digest.update(_fp32_bytes(tensor))
    return digest.hexdigest()


def latent_sha256(latent: Tensor) -> str:
    """Hex sha256 of the latent's values in fp32, little-endian."""
    return hashlib.sha256(_fp32_bytes(latent)).hexdigest()


def _fp32_bytes(tensor: Tensor) -> bytes:
    values = tensor.detach().float().cpu().contiguous().numpy().astype("<f4", copy=False)
    return bytes(values.tobytes())


def _known_part(path: Folder, raw: Any) -> Any:
    """What this version knows of the record; ValueError where a newer one says that it must know more."""
    if not isinstance(raw, dict):
        return raw
    version, oldest = raw.get("record_version"), raw.get("oldest_reader")
    if not isinstance(version, int) or version <= RECORD_VERSION:
        return raw
    if not isinstance(oldest, int) or oldest > RECORD_VERSION:
        raise ValueError(
            f"{path}: record_version {version}, this version of portal reads {RECORD_VERSION}; "
            "update portal-sweeps"
        )
    try:
        PortalRecord.model_validate(raw)
    except ValidationError as error:
        for fault in error.errors():
            if fault["type"] == "extra_forbidden":
                *place, key = fault["loc"]
                value = raw
                for part in place:
                    value = value[part]
                del value[key]
    return raw
