"""The files in an artifact's folder, `config.json`, `portal.json`, weights: how they are fetched and read.

`ArtifactConfig` has the reference library's format 1 or this project's 2. An artifact has format 1, which
portallib loads, unless it needs more; portallib refuses format 2 by name.

`PortalRecord` is what only this project knows of an artifact, and binds it together: it holds the digests of
the other files, of the core, and of every task's latent under the task's name, so that an edited or mixed
artifact is seen. It also says where the artifact comes from.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from torch import Tensor

from portal.artifacts.adapter_record import AdapterRecord
from portal.bases.files import hub_error
from portal.bases.sites import MODULE_PATHS, SiteGroup, count_groups
from portal.config import AdapterConfig, BaseRef, HypernetConfig, Module
from portal.frozen import Frozen, Retired, content_key
from portal.hypernet import Converter, CoreDecoder, converter_num_params, core_num_params
from portal.messages import validated
from portal.storage.atomic import write_bytes_atomic
from portal.storage.checkpoint import below
from portal.storage.object_store import ObjectPath, is_url
from portal.storage.paths import Folder, cache_folder, file_sha256
from portal.storage.records import Record, check_unaltered, read_json
from portal.tasks.builder import check_name
from portal.text.text_map import TEXT_MAP

NEWEST_FORMAT = 2
_LLAMA_MODULES = {path: module for module, path in MODULE_PATHS.items()}
_NEWER = ("core_modules", "namesakes")
"""Keys that format 1 does not have."""


class ProjectionTarget(Frozen):
    """One adapted linear of the artifact's base, as the format spells it.

    `core_module` names the core's heads where they are another module's, for which this one stands in.
    """

    layer_index: int = Field(ge=0)
    module_name: Module
    module_path: str
    in_features: int = Field(ge=1)
    out_features: int = Field(ge=1)
    input_group: str
    output_group: str
    core_module: Module | None = None

    @property
    def head(self) -> str:
        """The module whose heads of the core generate the adapter."""
        return self.core_module or self.module_name

    @property
    def group(self) -> SiteGroup:
        """The group of the target, without layers."""
        return SiteGroup(
            module=self.module_name,
            d_in=self.in_features,
            d_out=self.out_features,
            input=self.input_group,
            output=self.output_group,
            layers=(),
            head=self.head,
            path=self.module_path,
        )


class ArtifactConfig(Frozen):
    """`config.json` of an artifact. Unknown keys of format 1 are left alone: hub tools add their own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    base_model_name_or_path: str
    tasks: tuple[str, ...] = Field(min_length=1)
    n_layers: int = Field(ge=1)
    projection_targets: tuple[ProjectionTarget, ...] = Field(min_length=1)
    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    d_z: int = Field(default=256, ge=1)
    d_layer: int = Field(default=32, ge=1)
    hidden: int = Field(default=512, ge=1)
    d_core: int = Field(default=1024, ge=1)
    layer_path: str = "model.layers"
    task_type: Literal["CAUSAL_LM"] = "CAUSAL_LM"
    architecture: Literal["canonical"] = "canonical"
    base_model_revision: str | None = None
    format_version: Literal[1, 2] = 1
    library_name: Literal["portallib"] = "portallib"
    core_modules: tuple[Module, ...] = ()  # all that the core has heads for, where targets do not say so
    namesakes: tuple[str, ...] = ()  # modules of the base's layers that peft must not take for adapted ones

    retired: ClassVar = {"residual_rank": Retired(0), "residual_tasks": Retired([])}

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "ArtifactConfig":
        for task in self.tasks:
            check_name(task, "task")
        for target in self.projection_targets:
            if target.layer_index >= self.n_layers:
                raise ValueError(f"projection target in layer {target.layer_index} of {self.n_layers}")
        for name in _NEWER:
            if getattr(self, name) and self.format_version == 1:
                raise ValueError(f"{name} needs format_version 2")
        for target in self.projection_targets:
            if target.head not in self.adapter.modules:
                raise ValueError(f"the core has no heads for {target.head!r}, which a target asks for")
        return self

    def with_tasks(self, tasks: Iterable[str]) -> "ArtifactConfig":
        """The config of the same core and converter with exactly these tasks."""
        kept = {name: value for name, value in self if name not in ("tasks", "format_version")}
        return in_needed_format(tasks=tuple(tasks), **kept)

    @property
    def adapter(self) -> AdapterConfig:
        modules = self.core_modules or tuple(
            dict.fromkeys(target.module_name for target in self.projection_targets)
        )
        return AdapterConfig(modules=modules, rank=self.rank, alpha=self.alpha)

    @property
    def hypernet(self) -> HypernetConfig:
        return HypernetConfig(d_latent=self.d_z, d_layer=self.d_layer, hidden=self.hidden, d_core=self.d_core)

    @property
    def groups(self) -> tuple[SiteGroup, ...]:
        """The projection targets by shared widths, in the order of the core's modules."""
        layers: dict[SiteGroup, list[int]] = {}
        for head in self.adapter.modules:
            for target in self.projection_targets:
                if target.head == head:
                    layers.setdefault(target.group, []).append(target.layer_index)
        return tuple(replace(group, layers=tuple(sorted(indices))) for group, indices in layers.items())

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """The shapes of all tensors, by name."""
        core = CoreDecoder(self.hypernet, self.adapter, torch.Generator())
        return {
            "task_latents": torch.Size((len(self.tasks), self.d_z)),
            **{f"core.{name}": value.shape for name, value in core.state_dict().items()},
            **{f"alignment.{name}": value.shape for name, value in self.converter().state_dict().items()},
        }

    def as_json(self) -> dict[str, Any]:
        """What stands in `config.json`: in format 1 only what that has."""
        if self.format_version > 1:
            return self.model_dump(mode="json")
        newer = dict.fromkeys(_NEWER, True)
        return self.model_dump(
            mode="json", exclude={**newer, "projection_targets": {"__all__": {"core_module"}}}
        )

    def converter(self) -> Converter:
        """A converter of the artifact's shapes, to load its weights into."""
        generator = torch.Generator()
        return Converter(
            self.hypernet, self.groups, num_layers=self.n_layers, zero_output=True, generator=generator
        )

    def adapter_record(self, task: str) -> AdapterRecord:
        """What an exported adapter of `task` is made for."""
        return AdapterRecord(base=self.base_model_name_or_path, revision=self.base_model_revision, task=task)

    def path(self, module: str, layer: int) -> str:
        """The dotted path of an adapted linear in the base."""
        for target in self.projection_targets:
            if (target.module_name, target.layer_index) == (module, layer):
                return f"{self.layer_path}.{layer}.{target.module_path}"
        raise KeyError((module, layer))


def in_needed_format(**values: Any) -> ArtifactConfig:
    """The config with these values, in format 1 unless one of them needs more."""
    return ArtifactConfig(**values, format_version=2 if any(values.get(name) for name in _NEWER) else 1)


def core_modules(groups: Iterable[SiteGroup], adapter: AdapterConfig) -> tuple[str, ...]:
    """What the key of this name must say: nothing where each head has its module of a Llama-like layer."""
    plain = {group.module for group in groups if group.head == group.module == _LLAMA_MODULES.get(group.path)}
    is_plain = plain == set(adapter.modules) and all(group.module in plain for group in groups)
    return () if is_plain else adapter.modules


def projection_targets(groups: tuple[SiteGroup, ...]) -> Iterator[ProjectionTarget]:
    """The adapted linears of these groups, by layer, then in the groups' order of modules."""
    order = {group.module: index for index, group in reversed(list(enumerate(groups)))}
    pairs = [(layer, order[group.module], group) for group in groups for layer in group.layers]
    for layer, _, group in sorted(pairs, key=lambda pair: pair[:2]):
        yield ProjectionTarget(
            layer_index=layer,
            module_name=group.module,
            module_path=group.path,
            core_module=None if group.head == group.module else group.head,
            in_features=group.d_in,
            out_features=group.d_out,
            input_group=group.input,
            output_group=group.output,
        )


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


class PortalRecord(Record):
    """`portal.json`. `files` are the sha256 of the others by name, `tasks` go by the tasks' names.

    A reader of an older version than `record_version` can read the record, passing over what it does not
    know, if it has at least `oldest_reader`.
    """

    WHAT = "the record of an artifact"
    REMEDY = "make the artifact anew"

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
    raw = read_json(path, what=PortalRecord.WHAT, remedy=PortalRecord.REMEDY)
    return None if raw is None else PortalRecord.parse(_known_part(path, raw), path)


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


def _known_part(path: Folder, raw: dict[str, Any]) -> dict[str, Any]:
    """What this version knows of the record; ValueError where a newer one says that it must know more."""
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
                value: Any = raw
                for part in place:
                    value = value[part]
                del value[key]
    return raw


CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def fetch_artifact(location: str | Path, *, weights: bool = True) -> Path:
    """The folder itself, or a local copy of what a hub id or a store's URL names; else ValueError.

    A copy may lack the weights.
    """
    text = str(location)
    if is_url(text):
        return _copy_from_store(ObjectPath.open(text), weights=weights)
    folder = Path(location)
    if folder.is_dir():
        return folder
    repository, _, revision = text.partition("@")
    if repository.count("/") != 1 or text.startswith((".", "/")):
        raise ValueError(f"{text}: no such artifact folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [CONFIG, RECORD, CARD, *([WEIGHTS, TEXT_MAP] if weights else [])]
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise hub_error("artifact", text, repository, error) from None


def _copy_from_store(folder: ObjectPath, *, weights: bool) -> Path:
    """The artifact's files in the cache; the ones that it lacks are missed where they are read."""
    copy = cache_folder() / "artifacts" / content_key(str(folder))
    for name in (CARD, RECORD, CONFIG, *([WEIGHTS, TEXT_MAP] if weights else [])):
        try:
            write_bytes_atomic(copy / name, (folder / name).read_bytes())
        except FileNotFoundError:
            (copy / name).unlink(missing_ok=True)
    if not copy.is_dir():
        raise ValueError(f"{folder}: no such artifact folder")
    return copy


def check_digests(folder: Path, record: PortalRecord | None) -> None:
    """ValueError where a file is not as its run or its record left it; artifacts with neither pass."""
    names = (CONFIG, WEIGHTS, TEXT_MAP, RECORD)
    digests = {name: file_sha256(folder / name) if (folder / name).is_file() else None for name in names}
    check_unaltered(folder, digests)
    if record is not None:
        record.check_files(folder, digests)


def read_config(path: Folder) -> ArtifactConfig:
    """The config of an artifact; ValueError when it is damaged, of another kind, or of a newer format."""
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(
            f"{path.parent}: no {path.name}; not an artifact of `portal train` or `portal port`"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from None
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > NEWEST_FORMAT:
        raise ValueError(
            f"{path}: format_version {version}, this version of portal reads up to {NEWEST_FORMAT}; "
            "update portal-sweeps"
        )
    config = validated(ArtifactConfig, raw, where=f"{path}: not a portable artifact: ")
    unknown = sorted(set(raw) - {*ArtifactConfig.model_fields, *ArtifactConfig.retired})
    if config.format_version > 1 and unknown:
        raise ValueError(f"{path}: {unknown[0]} is of a newer version of portal; update portal-sweeps")
    return config


def read_tensors(path: Path, config: ArtifactConfig) -> dict[str, Tensor]:
    """All tensors by the format's names, in fp32; ValueError unless they are what the config stands for."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("format") != "portallib":
                raise ValueError(f"{path}: not a portable artifact (its metadata has no format=portallib)")
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: damaged or missing weights ({error})") from None
    _check_tensors(path.parent, config, tensors)
    return tensors


def _check_tensors(folder: Path, config: ArtifactConfig, tensors: dict[str, Tensor]) -> None:
    expected = config.shapes
    for name, shape in expected.items():
        found = tensors.get(name)
        if found is None or found.shape != shape:
            what = "is missing" if found is None else f"has shape {tuple(found.shape)}"
            raise ValueError(f"{folder}: tensor {name} {what}, {tuple(shape)} is expected")
        if not found.isfinite().all():
            raise ValueError(f"{folder}: tensor {name} has values that are not finite")
    for name in tensors:
        if name not in expected:
            raise ValueError(f"{folder}: tensor {name} has no place in the config's shapes")


@dataclass(frozen=True)
class Inspection:
    """An artifact's folder, `config.json`, and `portal.json`, which one that portallib wrote lacks."""

    folder: Folder
    config: ArtifactConfig
    record: PortalRecord | None

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order of the latents."""
        return self.config.tasks

    @property
    def calibrated(self) -> tuple[str, ...] | None:
        """The tasks whose rows the converter was trained on; None where that is not recorded."""
        return None if self.record is None else self.record.calibrated(self.tasks)

    @property
    def understands_text(self) -> bool:
        """Whether new tasks can be described to it."""
        return self.record is not None and TEXT_MAP in self.record.files

    @property
    def num_params(self) -> dict[str, int]:
        """Parameters of the latents, of the core and of the converter."""
        config = self.config
        return {
            "latents": len(config.tasks) * config.d_z,
            "core": core_num_params(config.hypernet, config.adapter),
            "converter": converter_num_params(config.hypernet, config.groups, config.n_layers),
        }

    @property
    def layers_by_module(self) -> dict[str, int]:
        """How many layers carry each adapted module."""
        return count_groups(self.config.groups)


def inspect_artifact(location: str | Path) -> Inspection:
    """The artifact in a folder or at a hub id, of which only the small files are fetched.

    ValueError, in one line, when it is missing, its config damaged or altered, or of another format.
    """
    return inspect_folder(fetch_artifact(location, weights=False))


def inspect_folder(folder: Folder) -> Inspection:
    """The same of a folder, which is read where it lies."""
    config, record = read_config(folder / CONFIG), read_record(folder)
    if record is not None:
        record.check_files(folder, record.files | {CONFIG: file_sha256(folder / CONFIG)})
    return Inspection(folder, config, record)
