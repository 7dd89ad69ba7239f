"""`AdapterMatrix`: every adapter, of a task on a base, that the artifacts of one core make.

A converter takes any latent of its core, so a task that was taught on one base has an adapter on all of them.
Of several converters for a base, and of several latents for a task, the one that came last counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_files import WEIGHTS
from portal.artifacts.registry import Member, Registry, ScoreSheet, TaskScore
from portal.bases.registry import public_name
from portal.messages import nearest
from portal.methods import find_method


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

    def find_task(self, name: str) -> str:
        """The name itself; ValueError with the nearest one for a task without a latent."""
        if name not in self.latents:
            raise ValueError(f"core {self.core[:12]}: no latent for task {name!r}{nearest(name, self.tasks)}")
        return name

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
    fitting, refusals = [], []
    for each in chosen:
        try:
            _check_has(each, bases, tasks or ())
        except ValueError as error:
            refusals.append(str(error))
        else:
            fitting.append(each)
    if not fitting:
        raise ValueError("; ".join(refusals))
    if len(fitting) > 1:
        cores = ", ".join(each.core[:12] for each in fitting)
        raise ValueError(f"several cores have these bases and tasks; name one of them with --core: {cores}")
    return fitting[0]


def _check_has(matrix: AdapterMatrix, bases: Iterable[str], tasks: Iterable[str]) -> None:
    for base in bases:
        matrix.find_base(base)
    for task in tasks:
        matrix.find_task(task)


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
