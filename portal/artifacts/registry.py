"""`Registry`: a folder, or a prefix of an object store, of immutable artifacts and of their scores.

An artifact lies in `artifacts/DIGEST`, by the sha256 of its `portal.json`, which binds its other files;
`added.json`, written last, has its number and the date. Scores lie in `scores/NUMBER-DIGEST.json`, by the
sha256 of their own content. A number is one more than the greatest that its writer found there, so what was
added in sight of something comes after it, whatever the clocks say; of two equal ones the digest decides.
There is no index: what is there is found by looking. Writers need no lock, and a folder that is deleted is
gone.

`AdapterMatrix` has every adapter, of a task on a base, that the artifacts of one core make. A converter takes
any latent of its core, so a task that was taught on one base has an adapter on all of them. Of several
converters for a base, and of several latents for a task, the one that came last counts.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_files import (
    CARD,
    CONFIG,
    RECORD,
    WEIGHTS,
    Inspection,
    PortalRecord,
    inspect_folder,
)
from portal.bases.registry import public_name
from portal.frozen import Frozen
from portal.messages import nearest, refusal
from portal.methods import find_method
from portal.results import ACC_NORM
from portal.storage.atomic import create_exclusive, json_bytes, write_folder
from portal.storage.paths import Folder, matching, open_folder
from portal.storage.records import Record
from portal.text.text_map import TEXT_MAP

ADDED = "added.json"
DIGITS = 16
"""Of a sha256, in names of folders and files; as long as a run's key."""


class TaskScore(Frozen):
    """What an adapter reached on a task's test rows by the task's metric, nats per token, rows."""

    metric: str = ACC_NORM
    score: float
    log_loss: float
    num_examples: int


class ScoreSheet(Record):
    """Scores by task of adapters that the converter of one artifact made, and the latents they came from."""

    WHAT = "a sheet of scores"
    REMEDY = "delete it"

    artifact: str
    scored: datetime
    latents: dict[str, str]  # sha256 by task
    scores: dict[str, TaskScore]


class Added(Record):
    """The place of an artifact among those of its registry, and when it came there."""

    WHAT = "the number of an artifact"
    REMEDY = "move the folder away and add the artifact in it again"

    number: int
    added: datetime


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
            number = 1 + max((_read_added(path).number for path in added), default=0)
            entry = Added(number=number, added=now()).to_json()
            write_folder(place, contents | {ADDED: json_bytes(entry)})
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
        data = json_bytes(sheet.to_json())
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
    entry = _read_added(folder / ADDED)
    return Member(folder.name, entry.number, entry.added, inspection, inspection.record)


def _read_added(path: Folder) -> Added:
    entry = Added.read(path)
    assert entry is not None, "it was found there"
    return entry


def _read_sheet(path: Folder) -> ScoreSheet:
    sheet = ScoreSheet.read(path)
    assert sheet is not None, "it was found there"
    if _digest(path.read_bytes()) != path.stem[_PLACES + 1 :]:
        raise ValueError(f"{path}: edited since it was written; delete it")
    return sheet


@dataclass(frozen=True)
class Cell:
    """An adapter: the member with its converter, the one with its latent, and its last score, if any.

    `calibrated`: the converter was trained on rows of the task.
    """

    converter: Member
    latent: Member
    calibrated: bool
    score: TaskScore | None


@dataclass(frozen=True)
class AdapterMatrix:
    """The members of a registry with one core, in their order, and all of its sheets of scores."""

    registry: Registry
    core: str
    members: Sequence[Member]
    sheets: Sequence[ScoreSheet]

    @cached_property
    def converters(self) -> dict[str, Member]:
        """By base the first member that has the converter that counts."""
        return _latest((member.base, self._converter_of[member.digest], member) for member in self.members)

    @cached_property
    def latents(self) -> dict[str, Member]:
        """By task the first member that has the latent that counts, in the order in which the tasks came."""
        return _latest(
            (task, member.record.tasks[task].latent_sha256, member)
            for member in self.members
            for task in member.inspection.tasks
        )

    @property
    def bases(self) -> tuple[str, ...]:
        return tuple(self.converters)

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.latents)

    def cell(self, base: str, task: str) -> Cell:
        """The adapter of a task on a base, both of which the matrix has."""
        converter, latent = self.converters[base], self.latents[task]
        sha256 = latent.record.tasks[task].latent_sha256
        known = converter.record.tasks.get(task)
        calibrated = known is not None and known.calibrated and known.latent_sha256 == sha256
        score = self._scores.get((self._converter_of[converter.digest], task, sha256))
        return Cell(converter, latent, calibrated, score)

    def find_base(self, name: str) -> str:
        """The matrix's name of a base that is given by any of its names; ValueError for one that it lacks."""
        if public_name(name) in self.converters:
            return public_name(name)
        raise ValueError(f"core {self.core[:12]}: no artifact for base {name!r}{nearest(name, self.bases)}")

    def artifact(self, base: str, tasks: Iterable[str]) -> Artifact:
        """What makes the adapters of these tasks on a base, with exactly these tasks; nothing is written."""
        wanted = {task: self.latents[task] for task in tasks}
        members = {member.digest: member for member in (*wanted.values(), self.converters[base])}
        opened = {digest: Artifact.load(str(member.folder)) for digest, member in members.items()}
        latents = {task: opened[member.digest].latents[task] for task, member in wanted.items()}
        converter = opened[self.converters[base].digest]
        taught_by = {
            task: taught
            for task, member in wanted.items()
            if (taught := opened[member.digest]) is not converter
        }
        return replace(converter.with_tasks(latents), taught_by=taught_by)

    def keep_scores(self, base: str, scores: Mapping[str, TaskScore]) -> None:
        """Add scores of the adapters of some tasks on a base to the registry."""
        latents = {task: self.latents[task].record.tasks[task].latent_sha256 for task in scores}
        self.registry.add_scores(self.converters[base], latents, scores)

    @cached_property
    def _scores(self) -> dict[tuple[str, str, str], TaskScore]:
        """The last by converter, task and latent."""
        return {
            (self._converter_of[sheet.artifact], task, sheet.latents[task]): score
            for sheet in self.sheets
            if sheet.artifact in self._converter_of
            for task, score in sheet.scores.items()
        }

    @cached_property
    def _converter_of(self) -> dict[str, str]:
        """By digest the sha256 of the weights that first had a member's converter.

        Teaching hands it on unchanged.
        """
        by_weights = {member.record.files[WEIGHTS]: member for member in self.members}
        return {member.digest: _first_weights(member, by_weights) for member in self.members}


def read_matrices(registry: Registry) -> list[AdapterMatrix]:
    """One for each core, in the order in which they came; ValueError for a registry without artifacts."""
    cores: dict[str, list[Member]] = {}
    for member in registry.members():
        cores.setdefault(member.record.core_sha256, []).append(member)
    if not cores:
        raise ValueError(
            f"{registry.folder}: holds no artifact yet; `portal registry {registry.folder} --add ARTIFACT` "
            "copies one there"
        )
    sheets = registry.score_sheets()
    return [AdapterMatrix(registry, core, members, sheets) for core, members in cores.items()]


def choose_matrix(
    matrices: Sequence[AdapterMatrix], bases: Sequence[str], tasks: Sequence[str] | None, core: str | None
) -> AdapterMatrix:
    """The one that has all these bases and tasks; ValueError where none has, or where `core` must choose.

    `core` are the first digits of a core's digest.
    """
    chosen = [each for each in matrices if each.core.startswith(core or "")]
    if not chosen:
        raise ValueError(f"no core {core!r}{nearest(core or '', [each.core[:12] for each in matrices])}")
    refusals = [refusal(partial(_check_has, each, bases, tasks or ())) for each in chosen]
    fitting = [each for each, said in zip(chosen, refusals, strict=True) if said is None]
    if not fitting:
        raise ValueError("; ".join(filter(None, refusals)))
    if len(fitting) > 1:
        cores = ", ".join(each.core[:12] for each in fitting)
        raise ValueError(f"several cores have these bases and tasks; name one of them with --core: {cores}")
    return fitting[0]


def _check_has(matrix: AdapterMatrix, bases: Iterable[str], tasks: Iterable[str]) -> None:
    for base in bases:
        matrix.find_base(base)
    for task in tasks:
        if task not in matrix.latents:
            known = nearest(task, matrix.tasks)
            raise ValueError(f"core {matrix.core[:12]}: no latent for task {task!r}{known}")


def _latest(found: Iterable[tuple[str, str, Member]]) -> dict[str, Member]:
    """By name the first member with the value that came last; `found` are (name, value, member)."""
    first: dict[str, dict[str, Member]] = {}
    for name, value, member in found:
        first.setdefault(name, {}).setdefault(value, member)
    return {name: list(members.values())[-1] for name, members in first.items()}


def _first_weights(member: Member, by_weights: Mapping[str, Member]) -> str:
    lineage = member.record.lineage
    while find_method(lineage.method).teaches and lineage.source is not None:
        source = by_weights.get(lineage.source.weights_sha256)
        if source is None:
            return lineage.source.weights_sha256
        member, lineage = source, source.record.lineage
    return member.record.files[WEIGHTS]
