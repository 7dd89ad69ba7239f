"""`Registry`: a folder, or a prefix of an object store, of immutable artifacts and of their scores.

An artifact lies in `artifacts/DIGEST`, by the sha256 of its `portal.json`, which binds its other files;
`added.json`, written last, has its number and the date. Scores lie in `scores/NUMBER-DIGEST.json`, by the
sha256 of their own content. A number is one more than the greatest that its writer found there, so what was
added in sight of something comes after it, whatever the clocks say; of two equal ones the digest decides.
There is no index: what is there is found by looking. Writers need no lock, and a folder that is deleted is
gone.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AliasChoices, Field, ValidationError

from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_files import CARD, CONFIG, WEIGHTS
from portal.artifacts.inspection import Inspection, inspect_folder
from portal.artifacts.portal_record import RECORD, PortalRecord
from portal.frozen import Frozen
from portal.messages import explain
from portal.results import ACC_NORM
from portal.storage.atomic import create_exclusive, json_bytes, write_folder
from portal.storage.paths import Folder, matching, open_folder
from portal.text.text_map import TEXT_MAP

ADDED = "added.json"
DIGITS = 16
"""Of a sha256, in names of folders and files; as long as a run's key."""


class TaskScore(Frozen):
    """What an adapter reached on a task's test rows by the task's metric, nats per token, rows.

    Registries of version 0.1.0 have acc_norm alone, under its own name.
    """

    metric: str = ACC_NORM
    score: float = Field(validation_alias=AliasChoices("score", "acc_norm"))
    log_loss: float
    num_examples: int


class ScoreSheet(Frozen):
    """Scores by task of adapters that the converter of one artifact made, and the latents they came from."""

    artifact: str
    scored: datetime
    latents: dict[str, str]  # sha256 by task
    scores: dict[str, TaskScore]


@dataclass(frozen=True)
class Member:
    """An artifact of a registry, of which only the small files are read.

    `number` gives their order; `added`, in UTC by the clock of its writer, is only shown.
    """

    digest: str
    number: int
    added: datetime
    inspection: Inspection
    record: PortalRecord

    @property
    def folder(self) -> Folder:
        return self.inspection.folder

    @property
    def base(self) -> str:
        """The base that the converter is for, by its public name."""
        return self.inspection.config.base_model_name_or_path


@dataclass(frozen=True)
class Registry:
    """The artifacts and scores below `folder`, which need not exist before something is added."""

    folder: Folder

    @classmethod
    def open(cls, location: str | Path) -> "Registry":
        """The registry in a folder or at a URL of a store; ValueError where something else lies there."""
        folder = open_folder(str(location))
        if isinstance(folder, Path) and folder.is_dir():
            strange = [path.name for path in sorted(folder.iterdir()) if path.name not in _PARTS]
            if strange:
                raise ValueError(f"{folder}: not a registry, it holds {strange[0]}; choose another folder")
        return cls(folder)

    def add(self, location: str | Path, scores: Mapping[str, TaskScore] | None = None) -> Member:
        """Copy an artifact there and keep its scores by task, unless they are there already.

        ValueError, in one line, for an artifact that is damaged or has no record, as those of portallib.
        """
        artifact = Artifact.load(location)
        if artifact.record is None:
            raise ValueError(
                f"{artifact.folder}: has no {RECORD}, by which a registry knows an artifact; `portal port` "
                "and `portal teach` make artifacts that have one"
            )
        contents = {
            name: (artifact.folder / name).read_bytes()
            for name in (CARD, WEIGHTS, TEXT_MAP, CONFIG, RECORD)
            if (artifact.folder / name).is_file()
        }
        digest = _digest(contents[RECORD])
        place = self.folder / "artifacts" / digest
        if not (place / ADDED).is_file():
            added = matching(self.folder, f"artifacts/[0-9a-f]*/{ADDED}")
            number = 1 + max((_read_added(path)[0] for path in added), default=0)
            entry = json_bytes({"number": number, "added": now().isoformat()})
            write_folder(place, contents | {ADDED: entry})
        member = _read_member(place)
        if scores:
            latents = {task: artifact.record.tasks[task].latent_sha256 for task in scores}
            new = (member.digest, latents, scores)
            if all((each.artifact, each.latents, each.scores) != new for each in self.score_sheets()):
                self.add_scores(member, latents, scores)
        return member

    def add_scores(self, member: Member, latents: Mapping[str, str], scores: Mapping[str, TaskScore]) -> None:
        """Keep scores of adapters by the member's converter and, by task, the latents of that sha256."""
        sheet = ScoreSheet(artifact=member.digest, scored=now(), latents=dict(latents), scores=dict(scores))
        data = json_bytes(sheet.model_dump(mode="json"))
        number = 1 + max((int(path.name[:_PLACES]) for path in self._sheets()), default=0)
        create_exclusive(self.folder / "scores" / f"{number:0{_PLACES}d}-{_digest(data)}.json", data)

    def members(self) -> list[Member]:
        """Every artifact in their order; ValueError for a folder that is not named by what it holds."""
        folders = [path.parent for path in matching(self.folder, f"artifacts/[0-9a-f]*/{ADDED}")]
        return sorted(map(_read_member, folders), key=lambda member: (member.number, member.digest))

    def score_sheets(self) -> list[ScoreSheet]:
        """Every one that was kept, in their order; ValueError for a damaged one."""
        return [_read_sheet(path) for path in self._sheets()]

    def _sheets(self) -> list[Folder]:
        return matching(self.folder, f"scores/{'[0-9]' * _PLACES}-*.json")


_PARTS = ("artifacts", "scores")
_PLACES = 8  # of the number in the name of a sheet, so that names sort as numbers do


def now() -> datetime:
    """The date that people read in a registry or record; nothing is decided by it."""
    return datetime.now(UTC)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def _read_member(folder: Folder) -> Member:
    inspection = inspect_folder(folder)
    if inspection.record is None or _digest((folder / RECORD).read_bytes()) != folder.name:
        raise ValueError(f"{folder}: its {RECORD} is not the one it is named by; delete the folder")
    return Member(folder.name, *_read_added(folder / ADDED), inspection, inspection.record)


def _read_added(path: Folder) -> tuple[int, datetime]:
    """The number of a member and its date."""
    try:
        raw = json.loads(path.read_bytes())
        return int(raw["number"]), datetime.fromisoformat(raw["added"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not readable ({error!r}); move the folder away and add the artifact in it again"
        ) from None


def _read_sheet(path: Folder) -> ScoreSheet:
    data = path.read_bytes()
    try:
        sheet = ScoreSheet.model_validate_json(data)
    except ValidationError as error:
        raise ValueError(f"{path}: not a sheet of scores: {explain(error, ScoreSheet)}; delete it") from None
    if _digest(data) != path.stem[_PLACES + 1 :]:
        raise ValueError(f"{path}: edited since it was written; delete it")
    return sheet
