"""A study: the runs that a study file (study_file.py) stands for.

Settings that a study leaves out are the paper's. Runs come out resolved: bases pinned to a revision, data
identified by the hash of its examples, ports bound to the content key of their source run.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from portal.config import (
    AdapterConfig,
    DataConfig,
    HypernetConfig,
    Method,
    Precision,
    RunConfig,
    TrainConfig,
    paper_hidden,
)
from portal.data.suite import Suite
from portal.messages import explain
from portal.methods import MethodSpec, find_method, stage_of_method
from portal.recipes import RECIPES, Recipe
from portal.storage.paths import Folder
from portal.storage.strict_yaml import read_yaml
from portal.tasks.task_file import is_task_file
from sweeps.study.calibration import calibrated_tasks
from sweeps.study.catalogue import find_study
from sweeps.study.context import StudyContext
from sweeps.study.manifest import StudyManifest
from sweeps.study.study_file import (
    MethodSettings,
    Override,
    StudyFile,
    Variant,
    check_names,
    kind_of,
    latents_label,
    needed_label,
    teaching_base,
    transfer_base,
)
from sweeps.study.variants import with_variants

_LabelledRun = tuple[str, RunConfig]
_Sized = tuple[int | None, TrainConfig]
_HasTasks = TypeVar("_HasTasks", StudyFile, MethodSettings, Variant)
_Config = TypeVar("_Config", AdapterConfig, HypernetConfig, TrainConfig)


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
        )

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


def load_study(name_or_path: str | Path, *, out: Folder | None = None) -> Study:
    """The study of that shipped name or in that file, expanded and resolved; ValueError for any fault.

    `out` is where it runs: with precision `auto`, bases stay there what they were at its first launch.
    """
    path = find_study(str(name_or_path))
    settings = read_study(path)
    with _named_faults(path):
        return expand(settings, StudyContext.open(settings, out))


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
    labelled = list(_Expansion(settings, context, context.data(settings), kinds).runs())
    runs: dict[str, RunConfig] = {}
    labels: dict[str, str] = {}
    for label, run in _chosen(labelled, settings):
        runs.setdefault(run.key, run)
        labels.setdefault(run.key, label)
    ordered = tuple(sorted(runs.values(), key=stage_of))
    return Study(settings, context.suite, context.tasks, context.own_tasks, ordered, labels)


def _chosen(labelled: list[tuple[str, RunConfig]], settings: StudyFile) -> list[tuple[str, RunConfig]]:
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


@dataclass(frozen=True)
class _Expansion:
    settings: StudyFile
    context: StudyContext
    everything: DataConfig  # all tasks of the study
    kinds: Mapping[str, str]

    @cached_property
    def data(self) -> DataConfig:
        """The study's own tasks."""
        return self.everything.with_tasks(self.context.own_tasks)

    def runs(self) -> Iterator[_LabelledRun]:
        """Every run with the label it belongs to; one that several labels need comes up several times."""
        for label, method in self.settings.methods.items():
            spec = self._spec(label)
            if spec.runs_on == "sources":
                for seed in self._seeds(method):
                    yield label, self._source_run(label, seed)
            elif "source_base" in spec.settings:
                yield from self._transfer_runs(label)
            elif "size" in spec.settings:
                yield from self._target_runs(label)
            elif spec.parents:
                for target, seed in product(self._targets(method), self._seeds(method)):
                    shown = self._carried_runs if spec.latents_of else self._shown_runs
                    yield from shown(label, target, seed)
            else:
                for target in self._targets(method):
                    yield label, self._run(label, (target,), self.data)

    def _source_run(self, label: str, seed: int) -> RunConfig:
        """Joint training on all sources."""
        method, sources = self.settings.methods[label], self.settings.sources
        train = _filled(TrainConfig, self._recipe.train(self._spec(label).name), method.train)
        size = self._size(method, self._spec(label).name)
        data = self.data if method.tasks is None else self._named(method.tasks)
        data = data.model_copy(update={"size": size})
        return self._run(label, sources, data, train=train, seed=seed, source_bases=sources)

    def _target_runs(self, label: str) -> Iterator[_LabelledRun]:
        """Training on every target, at every size and seed, and the runs that these start from."""
        method = self.settings.methods[label]
        for target in self._targets(method):
            for sized in self._sizes(label, target):
                for seed in self._seeds(method):
                    before = self._before(label, target, seed)
                    yield from before
                    yield label, self._sized_run(label, target, seed, sized, _last(before))

    def _transfer_runs(self, label: str) -> Iterator[_LabelledRun]:
        """For every seed, a run on the source base and what becomes of it on every other target."""
        method, source_base = self.settings.methods[label], transfer_base(self.settings, label)
        targets = method.targets or [name for name in self.settings.targets if name != source_base]
        for seed in self._seeds(method):
            before = self._before(label, source_base, seed)
            yield from before
            for target in targets:
                yield label, self._main_run(label, target, seed, _last(before))

    def _before(self, label: str, target: str, seed: int) -> list[_LabelledRun]:
        """The runs that training on `target` starts from, each after its own parent."""
        spec = self._spec(label)
        if not spec.parents:
            return []
        parent = needed_label(self.settings, label)
        base = transfer_base(self.settings, label) if "source_base" in spec.settings else target
        before = self._before(parent, base, seed)
        return [*before, (parent, self._main_run(parent, base, seed, _last(before)))]

    def _shown_runs(self, label: str, target: str, seed: int) -> Iterator[_LabelledRun]:
        """A port as it is, on the study's tasks: that of its main size, then those of the label's curve."""
        for before in self._each_size(label, needed_label(self.settings, label), target, target, seed):
            yield from before
            yield label, self._main_run(label, target, seed, _last(before))

    def _carried_runs(self, label: str, target: str, seed: int) -> Iterator[_LabelledRun]:
        """Latents taught on another base, of its main size, then those of the label's curve, with a port."""
        ports = self._before(label, target, seed)
        yield from ports
        (_, port) = ports[-1]
        base = teaching_base(self.settings, label)
        for before in self._each_size(label, latents_label(self.settings, label), base, target, seed):
            yield from before
            (_, taught) = before[-1]
            yield label, self._run(label, (target,), taught.data, seed=seed, parent=port, latents=taught.key)

    def _each_size(
        self, label: str, parent: str, base: str, target: str, seed: int
    ) -> Iterator[list[_LabelledRun]]:
        """Runs of `parent` on `base`, after what they start from: of its main size, then of the curve."""
        earlier = self._before(parent, base, seed)
        main = self._main_run(parent, base, seed, _last(earlier))
        yield [*earlier, (parent, main)]
        method = self.settings.methods[label]
        if method.curve is None or target not in (method.curve.targets or self._targets(method)):
            return
        known = dict(self._sizes(parent, base))
        for size in method.curve.sizes:
            if size not in known:
                there = ", ".join(map(str, known))
                raise ValueError(
                    f"methods.{label}.curve: {parent!r} has no size {size} on {base}; it has {there}"
                )
            if size != main.data.size:
                run = self._sized_run(parent, base, seed, (size, known[size]), _last(earlier))
                yield [*earlier, (parent, run)]

    def _main_run(self, label: str, target: str, seed: int, parent: RunConfig | None) -> RunConfig:
        """The label's run of that seed: on all sources, or on `target` at its main size."""
        method, spec = self.settings.methods[label], self._spec(label)
        if spec.runs_on == "sources":
            return self._source_run(label, seed)
        if "source_base" in spec.settings:
            assert parent is not None, "a transfer has a parent"
            mode = method.transfer if "transfer" in spec.parts else None
            bases = tuple(ref.name for ref in parent.bases)
            return self._run(
                label, (target,), parent.data, seed=seed, parent=parent, source_bases=bases, transfer=mode
            )
        if "seed" not in spec.parts:
            return self._run(label, (target,), self.data)
        if "size" not in spec.settings:
            assert parent is not None, "a method that is not trained and has a seed has a parent"
            return self._run(label, (target,), self._shown_data(parent), seed=seed, parent=parent)
        return self._sized_run(label, target, seed, next(self._sizes(label, target)), parent)

    def _sized_run(
        self, label: str, target: str, seed: int, sized: _Sized, parent: RunConfig | None
    ) -> RunConfig:
        """Training on `target` at one of the label's sizes."""
        size, train = sized
        data = self._data(label, size, seed, parent)
        own = train if self._spec(label).trains else None
        return self._run(label, (target,), data, train=own, seed=seed, parent=parent)

    def _run(
        self,
        label: str,
        bases: tuple[str, ...],
        data: DataConfig,
        *,
        parent: RunConfig | None = None,
        source_bases: tuple[str, ...] | None = None,
        **parts: Any,
    ) -> RunConfig:
        """A run of the label's method, with the shapes of its parent where it has one."""
        method, spec = self.settings.methods[label], self._spec(label)
        adapter = hypernet = None
        if parent is not None:
            adapter, hypernet = parent.adapter, parent.hypernet if "hypernet" in spec.parts else None
        elif "adapter" in spec.parts:
            adapter = _filled(AdapterConfig, dict(spec.adapter), method.adapter)
            if "hypernet" in spec.parts:
                width = {"hidden": paper_hidden(adapter.modules)}
                hypernet = _filled(HypernetConfig, width, method.hypernet)
        return RunConfig(
            method=spec.name,
            bases=tuple(self.context.refs[name] for name in bases),
            data=data,
            adapter=adapter,
            hypernet=hypernet,
            source=None if parent is None else parent.key,
            source_bases=source_bases or (None if parent is None else parent.source_bases),
            **parts,
        )

    def _sizes(self, label: str, target: str) -> Iterator[_Sized]:
        """(size, recipe) of the main run and of the curve's smaller ones."""
        method = self.settings.methods[label]
        override = method.overrides.get(target, Override())
        kind = kind_of(label, method)
        size = override.size or self._size(method, kind)
        train = _filled(TrainConfig, self._recipe.train(kind), method.train, override.train)
        yield size, train
        curve = method.curve
        if curve is not None and target in (curve.targets or self._targets(method)):
            for smaller in curve.sizes:
                if smaller != size:
                    yield smaller, _filled(TrainConfig, train.model_dump(), curve.train)

    def _spec(self, label: str) -> MethodSpec:
        return find_method(kind_of(label, self.settings.methods[label]))

    @property
    def _recipe(self) -> Recipe:
        return RECIPES[self.settings.recipe]

    def _size(self, method: MethodSettings, kind: Method) -> int | None:
        return method.size if "size" in method.model_fields_set else self._recipe.size(kind)

    def _data(self, label: str, size: int | None, seed: int, parent: RunConfig | None) -> DataConfig:
        """So many rows per task, of all tasks or of those that the label is calibrated on with this seed.

        A port has its source's tasks. Other methods with tasks of their own are scored on the study's too.
        """
        method, data = self.settings.methods[label], self.data
        if self._spec(label).frozen_core and parent is not None:
            data = self.everything.with_tasks(parent.data.tasks)
        trained = data.tasks if method.tasks is None else self.context.named[method.tasks]
        try:
            calibrated = calibrated_tasks(trained, method.calibrate, seed, self.kinds) or trained
        except ValueError as error:
            raise ValueError(f"methods.{label}.{error}") from None
        tasks = tuple(dict.fromkeys((*data.tasks, *trained)))
        some = None if len(calibrated) == len(tasks) else calibrated
        return self.everything.with_tasks(tasks).model_copy(update={"size": size, "calibrated": some})

    def _shown_data(self, parent: RunConfig) -> DataConfig:
        """The parent's data; of the study's tasks, none of which it was trained on, where it has others."""
        if parent.data.tasks == self.data.tasks:
            return parent.data
        trained = set(parent.data.trained_tasks)
        own = tuple(task for task in self.data.tasks if task in trained)
        return self.data.model_copy(update={"size": parent.data.size, "calibrated": own})

    def _named(self, names: tuple[str, ...]) -> DataConfig:
        """The tasks that a method names."""
        return self.everything.with_tasks(self.context.named[names])

    def _targets(self, method: MethodSettings) -> tuple[str, ...]:
        return self.settings.targets if method.targets is None else method.targets

    def _seeds(self, method: MethodSettings) -> tuple[int, ...]:
        return self.settings.seeds if method.seeds is None else method.seeds


def _last(before: Sequence[_LabelledRun]) -> RunConfig | None:
    """The run that the next one starts from; None where there is nothing before it."""
    return before[-1][1] if before else None


def _filled(kind: type[_Config], defaults: dict[str, Any], *given: _Config | None) -> _Config:
    """`kind` with `defaults`, then with every key that `given` sets, later ones winning."""
    values = dict(defaults)
    for config in given:
        if config is not None:
            values |= config.model_dump(exclude_unset=True)
            if "rank" in config.model_fields_set and "alpha" not in config.model_fields_set:
                values.pop("alpha", None)  # it follows the rank
    return kind(**values)
