"""`StudyFile`: what a study file (YAML) may say, its checks, and its variants. No base or row is read."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from portal.config import (
    Activations,
    AdapterConfig,
    DeviceChoice,
    HypernetConfig,
    Method,
    PrecisionChoice,
    RunConfig,
    TextSettings,
    TransferMode,
)
from portal.frozen import Frozen
from portal.messages import explain, nearest
from portal.methods import METHODS, MethodSpec, find_method, stage_of_method
from portal.recipes import RECIPES, RecipeName
from portal.train_config import TrainConfig

Calibrate = (
    Annotated[int, Field(ge=1, strict=True)]
    | Annotated[float, Field(gt=0, le=1)]
    | Annotated[tuple[str, ...], Field(min_length=1)]
)
"""A number of tasks, a share of them, or their names."""
Settings = dict[str, Any]
"""What parts of a study file say, as it is merged."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _by_own_paths(tasks: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Task files in the study file's folder, which is the context, are meant by their paths from there."""
    if info.context is None:
        return tasks
    from portal.tasks.task_file import is_task_file  # loads pyarrow

    places = {task: info.context / task for task in tasks if is_task_file(task)}
    return tuple(str(places[task]) if task in places and places[task].is_file() else task for task in tasks)


_OWN_FILES = AfterValidator(_by_own_paths)
WorkersPerPack = Annotated[int, Field(ge=1)] | Literal["bases"]
"""Number of workers of a lane, which step a pack together, or one for each base of joint training."""


class Override(Frozen):
    """Settings of a method on one target."""

    size: int | None = Field(default=None, ge=1)
    """Calibration rows per task."""
    train: TrainConfig | None = None
    """The optimiser's recipe."""


class Curve(Frozen):
    """Further, smaller calibration sizes of a method, or of the port that it shows, for its curve."""

    sizes: tuple[int, ...] = Field(min_length=1)
    """Calibration rows per task."""
    targets: tuple[str, ...] | None = None
    """The bases that have a curve; unset: all."""
    train: TrainConfig | None = None
    """The recipe of these runs, where it is another than the method's."""

    @field_validator("sizes")
    @classmethod
    def _sizes_are_positive(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        for size in sizes:
            if size < 1:
                raise ValueError(f"size {size} is below 1")
        return sizes


class _Trained(Frozen):
    """What an entry and a variant can say of how runs are trained."""

    size: int | None = Field(default=None, ge=1)
    """Calibration rows per task. Unset: the recipe's; null: all rows."""
    adapter: AdapterConfig | None = None
    """What is adapted, at which rank."""
    hypernet: HypernetConfig | None = None
    """Widths of the hypernetwork."""
    train: TrainConfig | None = None
    """The optimiser's recipe."""
    text: TextSettings | None = None
    """Latents come from descriptions, too."""
    tasks: Annotated[tuple[str, ...], Field(min_length=1), _OWN_FILES] | None = None
    """Tasks and groups to train on in place of the study's."""
    calibrate: Calibrate | None = None
    """On which of the tasks a port is trained: their number, share or names. It is scored on all."""


class MethodSettings(_Trained):
    """One entry of a study, under its label."""

    method: Method | None = None
    """The method; unset: the label is its name."""
    curve: Curve | None = None
    """Further sizes, for a curve of data efficiency."""
    targets: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Some of the study's targets; unset: all."""
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Seeds in place of the study's."""
    source: str | None = None
    """Label of the entry that this one starts from, where there are several."""
    latents: str | None = None
    """Label of the entry whose latents are carried, where there are several."""
    source_base: str | None = None
    """Base of the LoRAs that a transfer starts from; unset: the last source."""
    transfer: TransferMode = "coordinate"
    """How a transfer carries factors over."""
    overrides: dict[str, Override] = Field(default_factory=dict)
    """Other settings on single targets, by their names."""


class Variant(_Trained):
    """Settings that stand in for what methods of the study say; the runs are labelled `<method>-<variant>`.

    An adapter or hypernetwork goes to the methods that take one: a port has its source's.
    """

    methods: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Labels of the entries that it is of; unset: all that train."""
    size: int | None = Field(default=None, ge=1)
    """Calibration rows per task."""
    calibrate: Calibrate | None = None
    """On which of the tasks a port is trained."""


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


_Names = Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])]
_Numbers = Annotated[tuple[int, ...], BeforeValidator(_listed, json_schema_input_type=int | tuple[int, ...])]


class RunFilter(Frozen):
    """Runs of a study, by any of their label, base, size and seed; a list means one of them."""

    method: _Names = ()
    """Labels of entries, with those of variants: `portal-r16`."""
    base: _Names = ()
    """Names of bases."""
    size: _Numbers = ()
    """Calibration rows per task."""
    seed: _Numbers = ()
    """Seeds."""

    @model_validator(mode="after")
    def _says_something(self) -> "RunFilter":
        if not self.model_fields_set:
            raise ValueError("a filter names at least one of method, base, size, seed")
        return self

    def matches(self, label: str, run: RunConfig) -> bool:
        """Whether the run, listed under `label`, has one of the values in every field that is given."""
        bases = {ref.name for ref in run.bases}
        return (
            (not self.method or label in self.method)
            and (not self.base or bool(bases & {*self.base}))
            and (not self.size or run.data.size in self.size)
            and (not self.seed or run.seed in self.seed)
        )

    def __str__(self) -> str:
        given = self.model_dump(exclude_defaults=True)
        return ", ".join(
            f"{name}: {' or '.join(str(value) for value in values)}" for name, values in given.items()
        )


class StudyFile(Frozen):
    """The content of a study file."""

    name: str
    """Letters, digits, `.`, `_` and `-`, at most 64."""
    suite: str = "mini"
    """A suite of tasks by its name, or a folder of tasks."""
    data: str | None = None
    """The folder of the suite's rows, where it does not name one itself."""
    tasks: Annotated[tuple[str, ...], _OWN_FILES] | None = None
    """Tasks and groups of tasks; unset or `all`: all of the suite."""
    eval_size: int = Field(default=1000, ge=1)
    """Most rows of a task and split that are scored."""
    max_prompt: int = Field(default=768, ge=1)
    """Most tokens of a prompt; longer ones lose their left end."""
    sources: tuple[str, ...] = ()
    """Bases of joint training."""
    targets: tuple[str, ...] = ()
    """Bases that are ported to and scored."""
    methods: dict[str, MethodSettings] = Field(min_length=1)
    """The entries of the study by their labels."""
    variants: dict[str, Variant] = Field(default_factory=dict)
    """Settings that methods are also run with, by names."""
    include: tuple[RunFilter, ...] = ()
    """Only runs that one of these matches, with what they start from; nothing: all."""
    exclude: tuple[RunFilter, ...] = ()
    """Runs that one of these matches are left out, but for those that others start from."""
    recipe: RecipeName = "paper"
    """Defaults of the settings that are left out."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """The recipe's, where the file names none."""
    precision: PrecisionChoice = "default"
    """Precision of frozen bases. `default`: bf16 on a GPU and fp32 on a CPU; `auto`: what the device is fast
    at."""
    device: DeviceChoice = "auto"
    """What runs are computed on; `auto`: a GPU where there is one."""
    pack_size: int = Field(default=8, ge=1)
    """Most runs that share the forwards of a base."""
    activations: Activations = "keep"
    """Activations of a base in training: kept for the backward, or recomputed in it, which takes 1.5 times as
    long."""
    coverage: Literal["any", "full"] = "any"
    """`full` refuses a base where a layer has neither a module that is asked for nor what holds it."""
    metrics: Literal["any", "one"] = "any"
    """`one` refuses tasks that are judged by several metrics."""
    workers_per_pack: WorkersPerPack = 1
    """Workers of a lane, which step a pack together; `bases`: one for each base of joint training."""
    gpus_per_worker: float = Field(default=1.0, gt=0)
    """GPUs of a worker that a base is divided over, or its share of one."""

    @field_validator("gpus_per_worker")
    @classmethod
    def _several_gpus_are_whole(cls, gpus: float) -> float:
        if gpus > 1 and not gpus.is_integer():
            raise ValueError(f"it is a share of one GPU, or a whole number, not {gpus:g}")
        return gpus

    @model_validator(mode="after")
    def _a_team_has_whole_gpus(self) -> "StudyFile":
        if self.workers_per_pack != 1 and self.gpus_per_worker < 1:
            raise ValueError(
                "workers of one pack need a GPU each: leave gpus_per_worker at 1 with workers_per_pack"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _seeds_are_the_recipes(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "seeds" in values:
            return values
        name = values.get("recipe", "paper")
        known = isinstance(name, str) and name in RECIPES
        return {**values, "seeds": RECIPES[name].seeds} if known else values

    @field_validator("tasks", mode="before", json_schema_input_type=Literal["all"] | tuple[str, ...] | None)
    @classmethod
    def _all_means_every_task(cls, tasks: Any) -> Any:
        return None if tasks == "all" else tasks

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is no name: letters, digits, '.', '_' and '-', at most 64, no leading sign"
            )
        return name

    @field_validator("seeds")
    @classmethod
    def _seeds_are_unique(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds) or min(seeds) < 0:
            raise ValueError(f"seeds must be different and not negative, got {list(seeds)}")
        return seeds

    def spec(self, label: str) -> MethodSpec:
        """The method behind a label; ValueError where there is none of that name."""
        return find_method(self.methods[label].method or label)

    def targets_of(self, label: str) -> tuple[str, ...]:
        """The bases that the label runs on."""
        return self.methods[label].targets or self.targets

    def seeds_of(self, label: str) -> tuple[int, ...]:
        """The seeds of the label's runs."""
        return self.methods[label].seeds or self.seeds

    def parent_labels(self, label: str) -> tuple[str, ...]:
        """The labels of all entries that `label` starts from: its source, and that of its latents."""
        spec = self.spec(label)
        first = (self.source_label(label),) if spec.parents else ()
        return (*first, self.latents_label(label)) if spec.latents_of else first

    def source_label(self, label: str) -> str:
        """The label of the entry that `label` starts from: one of the method that is its method's parent."""
        return self._one_of_kind(label, self.spec(label).parents, "source")

    def latents_label(self, label: str) -> str:
        """The label of the entry whose latents `label` carries to its targets."""
        return self._one_of_kind(label, self.spec(label).latents_of, "latents")

    def _one_of_kind(self, label: str, kinds: tuple[str, ...], key: Literal["source", "latents"]) -> str:
        """The entry of one of these methods that `label` names under `key`, or the only one there is."""
        found = [name for name, method in self.methods.items() if (method.method or name) in kinds]
        named, wanted = getattr(self.methods[label], key), " or ".join(kinds)
        if named is not None and named not in found:
            raise ValueError(f"methods.{label}.{key}: no {wanted} method {named!r}{nearest(named, found)}")
        if named is None and len(found) != 1:
            quoted = " or ".join(map(repr, kinds))
            several = f"several methods of kind {quoted} ({', '.join(found)})"
            fault = several if found else f"no method {quoted} to start from"
            raise ValueError(f"methods.{label}: {fault}; name one as methods.{label}.{key}")
        return named or found[0]

    def teaching_base(self, label: str) -> str:
        """The base on which the latents that `label` carries are taught; ValueError unless it is one."""
        taught = self.latents_label(label)
        bases = self.targets_of(taught)
        if len(bases) != 1:
            raise ValueError(
                f"methods.{label}.latents: {taught!r} teaches on {len(bases)} bases ({', '.join(bases)}); "
                f"give it one as methods.{taught}.targets"
            )
        return bases[0]

    def source_base_of(self, label: str) -> str:
        """The base of the LoRAs that a transfer starts from: as it says, else the last of the sources."""
        known, named = (*self.sources, *self.targets), self.methods[label].source_base
        if named is not None and named not in known:
            raise ValueError(
                f"methods.{label}.source_base: {named!r} is no base of the study{nearest(named, known)}"
            )
        if named is None and not self.sources:
            raise ValueError(f"methods.{label}: name the base of the LoRAs as methods.{label}.source_base")
        return named or self.sources[-1]


def check_names(settings: StudyFile) -> None:
    """ValueError for a method, base or setting that the study names but cannot have."""
    for label in settings.methods:
        _check_entry(settings, label)
    for field in ("sources", "targets"):
        names = getattr(settings, field)
        if len(set(names)) != len(names):
            raise ValueError(f"{field}: a base is named twice in {list(names)}")


def _check_entry(settings: StudyFile, label: str) -> None:
    method, where = settings.methods[label], f"methods.{label}"
    kind = method.method or label
    if kind not in METHODS:
        raise ValueError(f"methods: unknown method {label!r}{nearest(label, METHODS)}")
    spec = find_method(kind)
    for part in sorted(method.model_fields_set - {"method"} - spec.settings):
        raise ValueError(
            f"{where}.{part}: method {kind!r} takes no {part!r}; it takes {sorted(spec.settings)}"
        )
    if spec.runs_on == "sources" and not settings.sources:
        raise ValueError(f"{where}: the study names no sources; list the bases to train on under 'sources'")
    if spec.runs_on == "targets" and not settings.targets:
        raise ValueError(f"{where}: the study names no targets; list the bases to run on under 'targets'")
    if method.curve is not None and method.curve.train is not None and not spec.trains:
        raise ValueError(f"{where}.curve.train: method {kind!r} does not train; leave it out")
    curve_targets = (method.curve.targets or ()) if method.curve else ()
    for target in (*(method.targets or ()), *method.overrides, *curve_targets):
        if target not in settings.targets:
            raise ValueError(
                f"{where}: {target!r} is not a target of the study{nearest(target, settings.targets)}"
            )
    _check_parents(settings, label)
    for target in settings.targets_of(label) if spec.teaches else ():
        if target not in settings.sources:
            raise ValueError(
                f"{where}: {target!r} is no source of the study, so its source has no converter for it; "
                f"name sources as {where}.targets{nearest(target, settings.sources)}"
            )


def _check_parents(settings: StudyFile, label: str) -> None:
    """ValueError unless all that `label` starts from is there, with the seeds and weights it needs."""
    spec, where = settings.spec(label), f"methods.{label}"
    if spec.latents_of:
        settings.teaching_base(label)
    parents = settings.parent_labels(label)
    if "source_base" in spec.settings:
        settings.source_base_of(label)
        if "transfer" in spec.parts and settings.precision in ("8bit", "4bit"):
            raise ValueError(
                f"{where}: it reads singular vectors of the bases' weights, which precision "
                f"{settings.precision!r} does not keep; leave 'precision' out"
            )
        return
    for parent in parents:
        seeds = settings.seeds_of(parent)
        for seed in settings.seeds_of(label):
            if seed not in seeds:
                raise ValueError(
                    f"{where}: seed {seed} has no run of {parent!r}; its seeds are {list(seeds)}"
                )


def with_variants(settings: StudyFile) -> StudyFile:
    """The same study with every variant of a method written out as a method, and none left.

    A method that no variant is for stays as it is. A varied port starts from the variant of its source, or
    from the source itself where that is not varied. What trains nothing is there in every variant of what it
    starts from, unless it names one of them. ValueError for an unknown method.
    """
    if not settings.variants:
        return settings
    varied = _varied(settings)
    methods: dict[str, MethodSettings] = {}
    for label, method in settings.methods.items():
        if label not in varied:
            methods[label] = method
            continue
        spec, parents = settings.spec(label), settings.parent_labels(label)
        for name in varied[label]:
            said = settings.variants[name].model_dump(exclude_unset=True)
            said = {part: value for part, value in said.items() if part in spec.settings}
            starts = [f"{each}-{name}" if name in varied.get(each, ()) else each for each in parents]
            fixed = {"method": spec.name, **dict(zip(("source", "latents"), starts, strict=False))}
            content = merged(method.model_dump(exclude_unset=True), said, fixed)
            methods[f"{label}-{name}"] = MethodSettings.model_validate(content)
    return settings.model_copy(update={"methods": methods, "variants": {}})


def _varied(settings: StudyFile) -> dict[str, list[str]]:
    """By label the variants that it has: its own, or where it trains nothing those of what it starts from."""
    specs = {label: settings.spec(label) for label in settings.methods}
    trained = [label for label, spec in specs.items() if spec.trains]
    varied: dict[str, list[str]] = {}
    for name, variant in settings.variants.items():
        for label in variant.methods or trained:
            if label not in trained:
                raise ValueError(
                    f"variants.{name}.methods: no method {label!r} that trains{nearest(label, trained)}"
                )
            varied.setdefault(label, []).append(name)
    for label in sorted(specs, key=lambda label: stage_of_method(specs[label].name)):
        method = settings.methods[label]
        made = {f"{each}-{name}" for each, names in varied.items() for name in names}
        if specs[label].trains or not specs[label].parents or {method.source, method.latents} & made:
            continue  # one that names a variant starts from that alone
        parents = settings.parent_labels(label)
        if names := [n for n in settings.variants if any(n in varied.get(p, ()) for p in parents)]:
            varied[label] = names
    return varied


def merged(*layers: Mapping[str, Any]) -> Settings:
    """All keys of the layers, later ones winning, mappings key by key."""
    found: Settings = {}
    for layer in layers:
        for key, value in layer.items():
            known = found.get(key)
            if isinstance(known, Mapping) and isinstance(value, Mapping):
                value = merged(known, value)
            found[key] = value
    return found


@contextmanager
def faults_of(path: Path, content: type[StudyFile] = StudyFile) -> Iterator[None]:
    """Faults that come up in the block are those of the file at `path`, which has such content."""
    try:
        yield
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error, content)}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def json_schema() -> dict[str, Any]:
    """The JSON schema of study files (draft 2020-12); `check_names` and the suite say the rest."""
    schema = StudyFile.model_json_schema()
    schema["required"].remove("seeds")  # the recipe has them
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "PorTAL study"}
