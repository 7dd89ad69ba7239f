"""`Expansion`: from the methods of a study file to their runs, each after the runs that it starts from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, TypeVar

from portal.config import (
    MINILM,
    AdapterConfig,
    DataConfig,
    HypernetConfig,
    Method,
    RunConfig,
    TextConfig,
    paper_hidden,
)
from portal.methods import MethodSpec, find_method
from portal.recipes import RECIPES, Recipe
from portal.train_config import TrainConfig
from sweeps.study.calibration import calibrated_tasks
from sweeps.study.context import StudyContext
from sweeps.study.study_file import (
    MethodSettings,
    Override,
    StudyFile,
    kind_of,
    latents_label,
    needed_label,
    teaching_base,
    transfer_base,
)

LabelledRun = tuple[str, RunConfig]
"""A run and the label of its method in the study file."""
_Sized = tuple[int | None, TrainConfig]
_Config = TypeVar("_Config", AdapterConfig, HypernetConfig, TrainConfig)


@dataclass(frozen=True)
class Expansion:
    """The runs of a study whose context is open; `everything` are the rows of all its tasks."""

    settings: StudyFile
    context: StudyContext
    everything: DataConfig
    kinds: Mapping[str, str]

    @cached_property
    def data(self) -> DataConfig:
        """The study's own tasks."""
        return self.everything.with_tasks(self.context.own_tasks)

    def runs(self) -> Iterator[LabelledRun]:
        """Every run with the label it belongs to; one that several labels need comes up several times."""
        for label, method in self.settings.methods.items():
            spec = self._spec(label)
            if spec.runs_on == "sources":
                for seed in self._seeds(method):
                    yield label, self._source_run(label, seed)
            elif "source_base" in spec.settings:
                yield from self._transfer_runs(label)
            elif "size" in spec.settings or spec.by_description:
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
        text = None
        if method.text is not None:
            encoder = self.context.encoders[method.text.encoder]
            text = TextConfig(
                encoder=encoder.name, encoder_sha256=encoder.sha256, dropout=method.text.dropout
            )
            data = self._described(label, data)
        return self._run(label, sources, data, train=train, seed=seed, source_bases=sources, text=text)

    def _target_runs(self, label: str) -> Iterator[LabelledRun]:
        """Training on every target, at every size and seed, and the runs that these start from."""
        method = self.settings.methods[label]
        for target in self._targets(method):
            main, *curve = self._sizes(label, target)
            for sized in (main, *curve):
                for seed in self._seeds(method):
                    before = self._before(label, target, seed, None if sized is main else sized[0])
                    yield from before
                    yield label, self._sized_run(label, target, seed, sized, _last(before))

    def _transfer_runs(self, label: str) -> Iterator[LabelledRun]:
        """For every seed, a run on the source base and what becomes of it on every other target."""
        method, source_base = self.settings.methods[label], transfer_base(self.settings, label)
        targets = method.targets or [name for name in self.settings.targets if name != source_base]
        for seed in self._seeds(method):
            before = self._before(label, source_base, seed)
            yield from before
            for target in targets:
                yield label, self._main_run(label, target, seed, _last(before))

    def _before(self, label: str, target: str, seed: int, size: int | None = None) -> list[LabelledRun]:
        """The runs that training on `target` starts from, each after its own parent.

        With a `size` of the label's curve they are of that size where the parent has several.
        """
        spec = self._spec(label)
        if not spec.parents:
            return []
        parent = needed_label(self.settings, label)
        base = transfer_base(self.settings, label) if "source_base" in spec.settings else target
        return self._of_size(label, parent, base, seed, size if self._has_curve(parent, base) else None)

    def _of_size(self, label: str, parent: str, base: str, seed: int, size: int | None) -> list[LabelledRun]:
        """The run of `parent` on `base` that `label` needs, after its own: of that size, or the main one.

        ValueError for a size that it does not have there.
        """
        if size is None:
            before = self._before(parent, base, seed)
            return [*before, (parent, self._main_run(parent, base, seed, _last(before)))]
        known = dict(self._sizes(parent, base))
        if size not in known:
            there = ", ".join(map(str, known))
            raise ValueError(
                f"methods.{label}.curve: {parent!r} has no size {size} on {base}; it has {there}"
            )
        if size == next(iter(known)):
            return self._of_size(label, parent, base, seed, None)
        before = self._before(parent, base, seed, size)
        run = self._sized_run(parent, base, seed, (size, known[size]), _last(before))
        return [*before, (parent, run)]

    def _shown_runs(self, label: str, target: str, seed: int) -> Iterator[LabelledRun]:
        """A port as it is, on the study's tasks: that of its main size, then those of the label's curve."""
        for before in self._each_size(label, needed_label(self.settings, label), target, target, seed):
            yield from before
            yield label, self._main_run(label, target, seed, _last(before))

    def _carried_runs(self, label: str, target: str, seed: int) -> Iterator[LabelledRun]:
        """Latents taught on another base, of its main size, then those of the label's curve, with a port."""
        ports = self._before(label, target, seed)
        yield from ports
        (_, port) = ports[-1]
        base = teaching_base(self.settings, label)
        for before in self._each_size(label, latents_label(self.settings, label), base, target, seed):
            yield from before
            (_, taught) = before[-1]
            data = taught.data.undescribed()
            yield label, self._run(label, (target,), data, seed=seed, parent=port, latents=taught.key)

    def _each_size(
        self, label: str, parent: str, base: str, target: str, seed: int
    ) -> Iterator[list[LabelledRun]]:
        """Runs of `parent` on `base`, after what they start from: of its main size, then of the curve."""
        main = self._of_size(label, parent, base, seed, None)
        yield main
        method = self.settings.methods[label]
        if method.curve is None or target not in (method.curve.targets or self._targets(method)):
            return
        for size in method.curve.sizes:
            if size != main[-1][1].data.size:
                yield self._of_size(label, parent, base, seed, size)

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
        if "size" not in spec.settings and not spec.by_description:
            assert parent is not None, "a method that is not trained and has a seed has a parent"
            return self._run(label, (target,), self._shown_data(parent), seed=seed, parent=parent)
        return self._sized_run(label, target, seed, next(self._sizes(label, target)), parent)

    def _sized_run(
        self, label: str, target: str, seed: int, sized: _Sized, parent: RunConfig | None
    ) -> RunConfig:
        """Training on `target` at one of the label's sizes."""
        size, train = sized
        data = self._data(label, size, seed, parent)
        spec = self._spec(label)
        own = train if spec.trains else None
        if spec.by_description or (own is not None and own.latent_start == "description"):
            if parent is None or parent.text is None:
                source = needed_label(self.settings, label)
                raise ValueError(
                    f"methods.{label}: {source!r} is trained without descriptions; give it an encoder as "
                    f"methods.{source}.text, such as {{encoder: {MINILM}}}"
                )
            data = self._described(label, data, seed=seed)
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
        size = self._size(method, kind) if override.size is None else override.size
        train = _filled(TrainConfig, self._recipe.train(kind), method.train, override.train)
        yield size, train
        curve = method.curve
        if curve is not None and target in (curve.targets or self._targets(method)):
            for smaller in curve.sizes:
                if smaller != size:
                    yield smaller, _filled(TrainConfig, train.model_dump(), curve.train)

    def _has_curve(self, label: str, target: str) -> bool:
        """Whether the label has several sizes there."""
        return "curve" in self._spec(label).settings and len([*self._sizes(label, target)]) > 1

    def _spec(self, label: str) -> MethodSpec:
        return find_method(kind_of(label, self.settings.methods[label]))

    @property
    def _recipe(self) -> Recipe:
        return RECIPES[self.settings.recipe]

    def _size(self, method: MethodSettings, kind: Method) -> int | None:
        """Rows per task; none where descriptions stand for them."""
        if find_method(kind).by_description:
            return 0
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


def _last(before: Sequence[LabelledRun]) -> RunConfig | None:
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
