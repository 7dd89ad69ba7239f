"""A study: the runs that a study file (study_file.py) stands for, each after the runs that it starts from.

Settings that a study leaves out are the recipe's. Runs come out resolved: bases pinned to a revision, data
identified by the hash of its examples, ports bound to the content key of their source run.
"""

import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from portal.config import (
    MINILM,
    AdapterConfig,
    DataConfig,
    DeviceChoice,
    HypernetConfig,
    Precision,
    RunConfig,
    TextConfig,
    paper_hidden,
)
from portal.data.suites import Suite
from portal.frozen import Frozen
from portal.messages import nearest
from portal.methods import MethodSpec, stage_of_method
from portal.recipes import RECIPES
from portal.storage.paths import Folder
from portal.storage.records import read_yaml
from portal.train_config import TrainConfig
from sweeps.study.catalogue import find_study
from sweeps.study.context import StudyContext
from sweeps.study.manifest import StudyManifest
from sweeps.study.study_file import (
    Calibrate,
    MethodSettings,
    Settings,
    StudyFile,
    check_names,
    faults_of,
    merged,
    with_variants,
)

LabelledRun = tuple[str, RunConfig]
"""A run and the label of its method in the study file."""


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
        settings, suite, has_others = self.settings, self.suite, len(self.own_tasks) < len(self.tasks)
        named = [name for name in settings.tasks or () if has_others and name in suite.groups]
        return StudyManifest(
            self.name,
            self.runs,
            self.labels,
            settings.gpus_per_worker,
            settings.workers_per_pack,
            suite.kinds_of(self.tasks),
            self.own_tasks if has_others else (),
            {name: suite.groups[name] for name in named},
        )

    @property
    def bases(self) -> tuple[str, ...]:
        """Names of all bases, in order of first use."""
        return tuple(dict.fromkeys(ref.name for run in self.runs for ref in run.bases))

    @property
    def data(self) -> DataConfig:
        """The rows of all its tasks."""
        return self.runs[0].data.with_tasks(self.tasks)

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
    bf16_pays: bool | None = None,
) -> Study:
    """The study of that shipped name or in that file, expanded and resolved; ValueError for any fault.

    `out` is where it runs: with precision `auto`, bases stay there what they were at its first launch. A
    `device` takes the place of the file's. With `outline` it can be planned where the rows of public
    benchmarks are not at hand; whether that is so, its suite says, and then its runs have no keys that count.
    `bf16_pays` gives the runs that precision `auto` has on a CPU that gains from bf16, or on one that does
    not; None asks this machine's.
    """
    path = find_study(str(name_or_path))
    settings = read_study(path)
    if device is not None:
        settings = settings.model_copy(update={"device": device})
    with faults_of(path):
        context = StudyContext.open(settings, out, outline=outline, bf16_pays=bf16_pays)
        return expand(settings, context)


def read_study(path: Path) -> StudyFile:
    """What a study file says, its own task files by their paths from here; ValueError for any fault."""
    content = read_yaml(path)
    with faults_of(path):
        return StudyFile.model_validate(content, context=path.parent)


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


@dataclass(frozen=True)
class Place:
    """Where a label has a run: on a base, which joint training ignores, with a seed, at a size of a curve."""

    label: str
    base: str = ""
    seed: int | None = None
    size: int | None = None
    """Calibration rows per task; none: the label's main size."""


@dataclass(frozen=True)
class Expansion:
    """The runs of a study whose context is open; `everything` are the rows of all its tasks."""

    settings: StudyFile
    context: StudyContext
    everything: DataConfig
    kinds: Mapping[str, str]

    def runs(self) -> Iterator[LabelledRun]:
        """Every run with the label it belongs to; one that several labels need comes up several times."""
        for label in self.settings.methods:
            for place in self._places(label):
                yield from self._chain(place)

    def _places(self, label: str) -> list[Place]:
        """Where the label has runs, in the order of the study."""
        method, spec = self.settings.methods[label], self.settings.spec(label)
        seeds = self.settings.seeds_of(label) if "seed" in spec.parts else (None,)
        bases = self.settings.targets_of(label) if spec.runs_on == "targets" else ("",)
        if "source_base" in spec.settings:
            if method.targets is None:
                start = self.settings.source_base_of(label)
                bases = tuple(base for base in bases if base != start)
            return [Place(label, base, seed) for seed in seeds for base in bases]
        sizes = {base: (None, *self._curve(label, base)) for base in bases}
        if _is_sized(spec):
            return [Place(label, b, seed, size) for b in bases for size in sizes[b] for seed in seeds]
        return [Place(label, b, seed, size) for b in bases for seed in seeds for size in sizes[b]]

    def _chain(self, place: Place) -> list[LabelledRun]:
        """The run there, after all runs that it starts from."""
        chains = [self._chain(parent) for parent in self._parents(place)]
        own = self._run(place, *(each[-1][1] for each in chains))
        return [*chain.from_iterable(chains), (place.label, own)]

    def _parents(self, place: Place) -> list[Place]:
        """Where the runs are that the run there starts from: that of its core or LoRA, that of its latents.

        At a size of the label's curve they are of that size, but for a port beside the latents of that size.
        """
        spec, parents = self.settings.spec(place.label), self.settings.parent_labels(place.label)
        base = self.settings.source_base_of(place.label) if "source_base" in spec.settings else place.base
        if not spec.latents_of:
            return [self._parent(place, parent, base) for parent in parents]
        source, latents = parents
        taught_on = self.settings.teaching_base(place.label)
        return [Place(source, base, place.seed), self._parent(place, latents, taught_on)]

    def _parent(self, place: Place, label: str, base: str) -> Place:
        """Where `label` has the run on `base` that the run at `place` starts from.

        What trains at several sizes may start from a parent that has one. ValueError for a size that is not
        there.
        """
        found = Place(label, base, place.seed)
        if place.size is None:
            return found
        main, *smaller = known = (self._settings(found)["size"], *self._curve(label, base))
        if place.size == main or (not smaller and _is_sized(self.settings.spec(place.label))):
            return found
        if place.size not in smaller:
            there = ", ".join(map(str, known))
            raise ValueError(
                f"methods.{place.label}.curve: {label!r} has no size {place.size} on {base}; it has {there}"
            )
        return replace(found, size=place.size)

    def _curve(self, label: str, base: str) -> tuple[int, ...]:
        """The sizes of the label's curve on the base, but for the main one."""
        curve, spec = self.settings.methods[label].curve, self.settings.spec(label)
        if curve is None or base not in (curve.targets or self.settings.targets_of(label)):
            return ()
        main = self._settings(Place(label, base))["size"] if _is_sized(spec) else None
        return tuple(size for size in curve.sizes if size != main)

    def _settings(self, place: Place) -> Settings:
        """What holds there: the recipe's, the method's, those for the base, those for the curve, merged."""
        method, spec = self.settings.methods[place.label], self.settings.spec(place.label)
        recipe = RECIPES[self.settings.recipe]
        defaults = {
            "size": 0 if spec.by_description else recipe.size(spec.name),
            "train": recipe.train(spec.name),
            "adapter": spec.adapter,
        }
        layers = [defaults, _given(method), _given(method.overrides.get(place.base))]
        if place.size is not None:
            layers += [_given(method.curve), {"size": place.size}]
        return merged(*layers)

    def _run(
        self, place: Place, parent: RunConfig | None = None, lender: RunConfig | None = None
    ) -> RunConfig:
        """The run there, with the shapes of its parent where it has one."""
        label, spec, settings = place.label, self.settings.spec(place.label), self._settings(place)
        method, joint = self.settings.methods[label], spec.runs_on == "sources"
        train = TrainConfig(**settings["train"]) if spec.trains else None
        adapter = hypernet = sources = text = None
        if parent is not None:
            adapter, hypernet = parent.adapter, parent.hypernet if "hypernet" in spec.parts else None
            transfers = "source_base" in spec.settings
            sources = tuple(ref.name for ref in parent.bases) if transfers else parent.source_bases
        elif "adapter" in spec.parts:
            adapter = AdapterConfig(**settings["adapter"])
            if "hypernet" in spec.parts:
                width = {"hidden": paper_hidden(adapter.modules)}
                hypernet = HypernetConfig(**merged(width, settings.get("hypernet", {})))
        if joint:
            sources = self.settings.sources
        if method.text is not None:
            encoder = self.context.encoders[method.text.encoder]
            text = TextConfig(
                encoder=encoder.name, encoder_sha256=encoder.sha256, dropout=method.text.dropout
            )
        return RunConfig(
            method=spec.name,
            bases=tuple(
                self.context.refs[name] for name in (self.settings.sources if joint else (place.base,))
            ),
            data=self._data(place, settings["size"], train, parent, lender),
            adapter=adapter,
            hypernet=hypernet,
            train=train,
            seed=place.seed,
            source=None if parent is None else parent.key,
            latents=None if lender is None else lender.key,
            text=text,
            source_bases=sources,
            transfer=method.transfer if "transfer" in spec.parts else None,
        )

    @cached_property
    def _own(self) -> DataConfig:
        """The study's own tasks."""
        return self.everything.with_tasks(self.context.own_tasks)

    def _data(
        self,
        place: Place,
        size: int | None,
        train: TrainConfig | None,
        parent: RunConfig | None,
        lender: RunConfig | None,
    ) -> DataConfig:
        """The rows of the run there: its own number of them, or those of what it starts from."""
        label, spec = place.label, self.settings.spec(place.label)
        method = self.settings.methods[label]
        if spec.runs_on == "sources":
            tasks = self.context.own_tasks if method.tasks is None else self.context.named[method.tasks]
            data = self.everything.with_tasks(tasks).model_copy(update={"size": size})
            return data if method.text is None else self._described(label, data)
        if lender is not None:
            return lender.data.undescribed()
        if _is_sized(spec):
            data = self._sized(place, size, parent)
            if not (spec.by_description or (train is not None and train.latent_start == "description")):
                return data
            if parent is None or parent.text is None:
                source = self.settings.source_label(label)
                raise ValueError(
                    f"methods.{label}: {source!r} is trained without descriptions; give it an encoder as "
                    f"methods.{source}.text, such as {{encoder: {MINILM}}}"
                )
            return self._described(label, data, seed=place.seed)
        if parent is None:
            return self._own
        return parent.data if "source_base" in spec.settings else self._shown(parent)

    def _sized(self, place: Place, size: int | None, parent: RunConfig | None) -> DataConfig:
        """So many rows per task, of all tasks or of those that the label is calibrated on with this seed.

        A port has its source's tasks. Other methods with tasks of their own are scored on the study's too.
        """
        method, data = self.settings.methods[place.label], self._own
        if self.settings.spec(place.label).frozen_core and parent is not None:
            data = self.everything.with_tasks(parent.data.tasks)
        trained = data.tasks if method.tasks is None else self.context.named[method.tasks]
        assert place.seed is not None, "what has rows of its own has a seed"
        try:
            calibrated = calibrated_tasks(trained, method.calibrate, place.seed, self.kinds) or trained
        except ValueError as error:
            raise ValueError(f"methods.{place.label}.{error}") from None
        tasks = tuple(dict.fromkeys((*data.tasks, *trained)))
        some = None if len(calibrated) == len(tasks) else calibrated
        return self.everything.with_tasks(tasks).model_copy(update={"size": size, "calibrated": some})

    def _shown(self, parent: RunConfig) -> DataConfig:
        """The parent's data; of the study's tasks, none of which it was trained on, where it has others."""
        if parent.data.tasks == self._own.tasks:
            return parent.data
        trained = set(parent.data.trained_tasks)
        own = tuple(task for task in self._own.tasks if task in trained)
        return self._own.model_copy(update={"size": parent.data.size, "calibrated": own})

    def _described(self, label: str, data: DataConfig, *, seed: int | None = None) -> DataConfig:
        """The data with its tasks' phrasings; with a seed with one each, of those that none is trained on."""
        try:
            known = self.context.suite.described(data.tasks)
        except ValueError as error:
            raise ValueError(f"methods.{label}: {error}") from None
        phrasings = {
            task: said.phrasings if seed is None else (said.drawn(seed),) for task, said in known.items()
        }
        return data.model_copy(update={"descriptions": phrasings})


def _given(part: Frozen | None) -> Settings:
    """What a part of the file sets; null sets nothing, but a method's size to all rows."""
    values = {} if part is None else part.model_dump(exclude_unset=True)
    all_rows = isinstance(part, MethodSettings)
    return {key: value for key, value in values.items() if value is not None or (all_rows and key == "size")}


def _is_sized(spec: MethodSpec) -> bool:
    """Whether a number of rows, or descriptions in their place, is the method's own."""
    return "size" in spec.settings or spec.by_description


def calibrated_tasks(
    tasks: Sequence[str], wanted: Calibrate | None, seed: int, kinds: Mapping[str, str]
) -> tuple[str, ...] | None:
    """The tasks that a run with this seed is trained on, in the order of `tasks`; None: all of them.

    A number or a share is drawn: the first ones of one random order per seed, so that fewer tasks are among
    more. In that order each of the `kinds`, where tasks have them, comes once before one comes twice. A share
    is rounded to the nearest number of tasks, at least one. ValueError for an unknown task, and for more
    tasks than there are.
    """
    if wanted is None:
        return None
    if isinstance(wanted, tuple):
        for task in wanted:
            if task not in tasks:
                raise ValueError(f"calibrate: the study has no task {task!r}{nearest(task, tasks)}")
        chosen = set(wanted)
    else:
        count = wanted if isinstance(wanted, int) else max(1, round(wanted * len(tasks)))
        if count > len(tasks):
            raise ValueError(f"calibrate: {count} tasks, the study has {len(tasks)}")
        chosen = set(_seeded_order(tasks, seed, kinds)[:count])
    return None if len(chosen) == len(tasks) else tuple(task for task in tasks if task in chosen)


def _seeded_order(tasks: Sequence[str], seed: int, kinds: Mapping[str, str]) -> list[str]:
    """The tasks in an order that their names and the seed decide, not how they are listed."""
    names = sorted(tasks)
    sequence = np.random.SeedSequence([seed, zlib.crc32(b"calibrated tasks")])
    drawn = [names[index] for index in np.random.default_rng(sequence).permutation(len(names))]
    earlier: Counter[str | None] = Counter()
    turns = {}
    for task in drawn:
        turns[task] = earlier[kinds.get(task)]
        earlier[kinds.get(task)] += 1
    return sorted(drawn, key=turns.__getitem__)
