"""A study: the runs that a study file (study_file.py) stands for.

Settings that a study leaves out are the paper's. Runs come out resolved: bases pinned to a revision, data
identified by the hash of its examples, ports bound to the content key of their source run.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from portal.config import DeviceChoice, Precision, RunConfig
from portal.data.suite import Suite
from portal.messages import explain
from portal.methods import stage_of_method
from portal.storage.paths import Folder
from portal.storage.strict_yaml import read_yaml
from portal.tasks.file_task import is_task_file
from sweeps.study.catalogue import find_study
from sweeps.study.context import StudyContext
from sweeps.study.expansion import Expansion, LabelledRun
from sweeps.study.manifest import StudyManifest
from sweeps.study.study_file import MethodSettings, StudyFile, Variant, check_names, with_variants

_HasTasks = TypeVar("_HasTasks", StudyFile, MethodSettings, Variant)


@dataclass(frozen=True)
class Study:
    """A study and its runs, sources before ports, without duplicates.

    `own_tasks` are those that it reports; `tasks` are these and others that only some methods train on.
    """

    settings: StudyFile
    suite: Suite
    tasks: tuple[str, ...]
    own_tasks: tuple[str, ...]
    runs: tuple[RunConfig, ...]
    labels: dict[str, str]  # the name of every run's method in the study file, by run key

    @property
    def name(self) -> str:
        return self.settings.name

    @cached_property
    def by_key(self) -> dict[str, RunConfig]:
        return {run.key: run for run in self.runs}

    def part(self, seeds: Collection[int]) -> "Study":
        """Only the runs of these seeds, and those without a seed; ValueError for a seed it does not have."""
        known = {run.seed for run in self.runs}
        for seed in seeds:
            if seed not in known:
                there = ", ".join(map(str, self.manifest.seeds))
                raise ValueError(f"study {self.name!r} has no run of seed {seed}; its seeds are {there}")
        runs = tuple(run for run in self.runs if run.seed is None or run.seed in seeds)
        return replace(self, runs=runs, labels={run.key: self.labels[run.key] for run in runs})

    @property
    def manifest(self) -> StudyManifest:
        """What an output folder remembers of the study."""
        settings = self.settings
        return StudyManifest(
            self.name,
            self.runs,
            self.labels,
            settings.gpus_per_worker,
            settings.workers_per_pack,
            self.suite.kinds_of(self.tasks),
            self.own_tasks if len(self.own_tasks) < len(self.tasks) else (),
            self._task_groups,
        )

    @property
    def _task_groups(self) -> dict[str, tuple[str, ...]]:
        """The groups among the study's tasks, where its runs have others, too."""
        named = self.settings.tasks or ()
        if len(self.own_tasks) == len(self.tasks):
            return {}
        return {name: self.suite.groups[name] for name in named if name in self.suite.groups}

    @property
    def bases(self) -> tuple[str, ...]:
        """Names of all bases, in order of first use."""
        return tuple(dict.fromkeys(ref.name for run in self.runs for ref in run.bases))

    @property
    def auto_precisions(self) -> dict[str, Precision]:
        """By base what the file's precision `auto` stands for; nothing where the file says another."""
        if self.settings.precision != "auto":
            return {}
        return {ref.name: ref.precision for run in self.runs for ref in run.bases}


def stage_of(run: RunConfig) -> int:
    """1 for what needs no other run, else the longest path over the methods that come first."""
    return stage_of_method(run.method)


def load_study(
    name_or_path: str | Path,
    *,
    out: Folder | None = None,
    device: DeviceChoice | None = None,
    outline: bool = False,
) -> Study:
    """The study of that shipped name or in that file, expanded and resolved; ValueError for any fault.

    `out` is where it runs: with precision `auto`, bases stay there what they were at its first launch. A
    `device` takes the place of the file's. With `outline` it can be planned where the rows of public
    benchmarks are not at hand; whether that is so, its suite says, and then its runs have no keys that count.
    """
    path = find_study(str(name_or_path))
    settings = read_study(path)
    if device is not None:
        settings = settings.model_copy(update={"device": device})
    with _named_faults(path):
        return expand(settings, StudyContext.open(settings, out, outline=outline))


def read_study(path: Path) -> StudyFile:
    """What a study file says, its own task files by their paths from here; ValueError for any fault."""
    content = read_yaml(path)
    with _named_faults(path):
        return _with_own_task_files(StudyFile.model_validate(content), path.parent)


@contextmanager
def _named_faults(path: Path) -> Iterator[None]:
    """Faults that come up in the block are those of the study file at `path`."""
    try:
        yield
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error, StudyFile)}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _with_own_task_files(settings: StudyFile, folder: Path) -> StudyFile:
    """Task files that lie beside the study file are meant by their paths from there."""

    def placed(part: _HasTasks) -> _HasTasks:
        if part.tasks is None:
            return part
        paths = tuple(
            str(folder / task) if is_task_file(task) and (folder / task).is_file() else task
            for task in part.tasks
        )
        return part.model_copy(update={"tasks": paths})

    methods = {label: placed(method) for label, method in settings.methods.items()}
    variants = {name: placed(variant) for name, variant in settings.variants.items()}
    return placed(settings).model_copy(update={"methods": methods, "variants": variants})


def expand(settings: StudyFile, context: StudyContext) -> Study:
    """The runs of a study whose context is open; nothing is read. ValueError for what it cannot have."""
    settings = with_variants(settings)
    check_names(settings)
    kinds = context.suite.kinds_of(context.tasks)
    labelled = list(Expansion(settings, context, context.data(settings), kinds).runs())
    runs: dict[str, RunConfig] = {}
    labels: dict[str, str] = {}
    for label, run in _chosen(labelled, settings):
        runs.setdefault(run.key, run)
        labels.setdefault(run.key, label)
    ordered = tuple(sorted(runs.values(), key=stage_of))
    return Study(settings, context.suite, context.tasks, context.own_tasks, ordered, labels)


def _chosen(labelled: list[LabelledRun], settings: StudyFile) -> list[LabelledRun]:
    """The runs that `include` names, or all, less those of `exclude`; and the sources of what is left.

    ValueError for a filter that no run matches, and when no run is left.
    """
    for name, filters in (("include", settings.include), ("exclude", settings.exclude)):
        for index, each in enumerate(filters):
            if not any(each.matches(label, run) for label, run in labelled):
                raise ValueError(f"{name}.{index}: no run of the study has {each}")
    kept = {
        run.key: run
        for label, run in labelled
        if (not settings.include or any(each.matches(label, run) for each in settings.include))
        and not any(each.matches(label, run) for each in settings.exclude)
    }
    if not kept:
        raise ValueError("include and exclude leave no run")
    by_key = {run.key: run for _, run in labelled}
    waiting = list(kept.values())
    while waiting:
        for key in waiting.pop().parent_keys:
            if key not in kept:
                kept[key] = by_key[key]
                waiting.append(by_key[key])
    return [(label, run) for label, run in labelled if run.key in kept]
