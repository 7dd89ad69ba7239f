"""The portable artifact: task latents, core and one base's converter, in the reference library's format.

`config.json` (format_version 1), `model.safetensors` (`task_latents`, `core.*`, `alignment.*`; metadata
format=portallib) and a model card. What is written here loads in portallib, and the other way round.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from portal.bases.base import Base
from portal.bases.files import hub_error
from portal.bases.sites import MODULE_PATHS, SiteGroup, group_sites
from portal.config import AdapterConfig, Frozen, HypernetConfig, Module, explain, nearest
from portal.hypernet import Converter, CoreDecoder, Factors
from portal.storage.atomic import write_bytes_atomic, write_json_atomic
from portal.tasks.builder import check_task_name

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


class ProjectionTarget(Frozen):
    """One adapted linear of the artifact's base, as the format spells it."""

    layer_index: int = Field(ge=0)
    module_name: Module
    module_path: str
    in_features: int = Field(ge=1)
    out_features: int = Field(ge=1)
    input_group: str
    output_group: str


class ArtifactConfig(Frozen):
    """`config.json` of an artifact. Unknown keys are left alone: hub tools add their own."""

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
    format_version: Literal[1] = 1
    library_name: Literal["portallib"] = "portallib"

    @model_validator(mode="after")
    def _targets_lie_inside(self) -> "ArtifactConfig":
        for task in self.tasks:
            check_task_name(task)
        for target in self.projection_targets:
            if target.layer_index >= self.n_layers:
                raise ValueError(f"projection target in layer {target.layer_index} of {self.n_layers}")
        return self

    @property
    def adapter(self) -> AdapterConfig:
        modules = tuple(dict.fromkeys(target.module_name for target in self.projection_targets))
        return AdapterConfig(modules=modules, rank=self.rank, alpha=self.alpha)

    @property
    def hypernet(self) -> HypernetConfig:
        return HypernetConfig(d_latent=self.d_z, d_layer=self.d_layer, hidden=self.hidden, d_core=self.d_core)

    @property
    def groups(self) -> tuple[SiteGroup, ...]:
        """The projection targets by shared widths, modules in their order of appearance."""
        layers: dict[tuple[str, int, int, str, str], list[int]] = {}
        for module in self.adapter.modules:
            for target in self.projection_targets:
                if target.module_name == module:
                    widths = target.in_features, target.out_features
                    key = (module, *widths, target.input_group, target.output_group)
                    layers.setdefault(key, []).append(target.layer_index)
        return tuple(SiteGroup(*key, layers=tuple(sorted(indices))) for key, indices in layers.items())

    def path(self, module: str, layer: int) -> str:
        """The dotted path of an adapted linear in the base."""
        for target in self.projection_targets:
            if (target.module_name, target.layer_index) == (module, layer):
                return f"{self.layer_path}.{layer}.{target.module_path}"
        raise KeyError((module, layer))


@dataclass(frozen=True)
class Artifact:
    """A loaded artifact. `tensors` have the format's names."""

    folder: Path
    config: ArtifactConfig
    tensors: dict[str, Tensor]

    def frozen_core(
        self, tasks: tuple[str, ...], adapter: AdapterConfig, hypernet: HypernetConfig
    ) -> tuple[nn.Parameter, CoreDecoder]:
        """Latents of `tasks`, (T, d_z), and the core; ValueError when other shapes are wanted."""
        mine = {**self.config.adapter.model_dump(), **self.config.hypernet.model_dump()}
        for name, wanted in {**adapter.model_dump(), **hypernet.model_dump()}.items():
            same = set(wanted) == set(mine[name]) if name == "modules" else wanted == mine[name]
            if not same:
                raise ValueError(
                    f"{self.folder}: the artifact has {name} {mine[name]}, the run wants {wanted}"
                )
        rows = [self.task_index(task) for task in tasks]
        core = CoreDecoder(hypernet, adapter, torch.Generator())
        core.load_state_dict(self._below("core."))
        return nn.Parameter(self.tensors["task_latents"][rows].clone()), core

    def task_index(self, task: str) -> int:
        """The task's row in the latent table; ValueError with the nearest name."""
        if task not in self.config.tasks:
            raise ValueError(
                f"{self.folder}: the artifact has no task {task!r}{nearest(task, self.config.tasks)}"
            )
        return self.config.tasks.index(task)

    def factors(self, tasks: tuple[str, ...]) -> Factors:
        """Adapter factors of `tasks` on the artifact's own base; the base is not loaded."""
        config = self.config
        converter = Converter(
            config.hypernet,
            config.groups,
            num_layers=config.n_layers,
            zero_output=True,
            generator=torch.Generator(),
        )
        converter.load_state_dict(self._below("alignment."))
        latents, core = self.frozen_core(tasks, config.adapter, config.hypernet)
        with torch.no_grad():
            return converter(core, latents)

    def _below(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def save_artifact(
    folder: Path,
    *,
    base: Base,
    tasks: tuple[str, ...],
    adapter: AdapterConfig,
    hypernet: HypernetConfig,
    latents: Tensor,
    core: CoreDecoder,
    converter: Converter,
) -> None:
    """Write the artifact of `base` into `folder`."""
    config = ArtifactConfig(
        base_model_name_or_path=base.public_name,
        base_model_revision=base.revision,
        tasks=tasks,
        n_layers=base.num_layers,
        projection_targets=tuple(_targets(group_sites(base.sites, adapter.modules))),
        rank=adapter.rank,
        alpha=adapter.alpha,
        d_z=hypernet.d_latent,
        d_layer=hypernet.d_layer,
        hidden=hypernet.hidden,
        d_core=hypernet.d_core,
        layer_path=base.layer_path,
    )
    tensors = {"task_latents": latents}
    tensors |= {f"core.{name}": value for name, value in core.state_dict().items()}
    tensors |= {f"alignment.{name}": value for name, value in converter.state_dict().items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_bytes_atomic(
        folder / WEIGHTS, save(tensors, metadata={"format": "portallib", "format_version": "1"})
    )
    write_bytes_atomic(folder / CARD, _card(config).encode())
    write_json_atomic(folder / CONFIG, config.model_dump(mode="json"))


def load_artifact(location: str | Path) -> Artifact:
    """The artifact in a folder, or at a hub id like `RampPublic/portal-qwen3-4b`, perhaps with `@REVISION`.

    ValueError, in one line, when it is missing, of another format, damaged, or its tensors do not fit its
    config.
    """
    folder = _fetch(location)
    try:
        raw = json.loads((folder / CONFIG).read_bytes())
    except FileNotFoundError:
        raise ValueError(
            f"{folder}: no {CONFIG}; not an artifact of `portal train` or `portal port`"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{folder / CONFIG}: not readable as JSON ({error})") from None
    try:
        config = ArtifactConfig.model_validate(raw)
    except ValidationError as error:
        raise ValueError(
            f"{folder / CONFIG}: not a portable artifact: {explain(error, ArtifactConfig)}"
        ) from None
    artifact = Artifact(folder, config, _read_tensors(folder / WEIGHTS))
    _check_shapes(artifact)
    return artifact


def _fetch(location: str | Path) -> Path:
    folder = Path(location)
    if folder.is_dir():
        return folder
    text = str(location)
    repository, _, revision = text.partition("@")
    if repository.count("/") != 1 or text.startswith((".", "/")):
        raise ValueError(f"{text}: no such artifact folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=[CONFIG, WEIGHTS, CARD])
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise hub_error("artifact", text, repository, error) from None


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("format") != "portallib":
                raise ValueError(f"{path}: not a portable artifact (its metadata has no format=portallib)")
            return {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: damaged or missing weights ({error})") from None


def _check_shapes(artifact: Artifact) -> None:
    config = artifact.config
    generator = torch.Generator()
    converter = Converter(
        config.hypernet, config.groups, num_layers=config.n_layers, zero_output=True, generator=generator
    )
    expected = {"task_latents": torch.Size((len(config.tasks), config.d_z))}
    expected |= {f"alignment.{name}": tensor.shape for name, tensor in converter.state_dict().items()}
    core = CoreDecoder(config.hypernet, config.adapter, generator)
    expected |= {f"core.{name}": tensor.shape for name, tensor in core.state_dict().items()}
    for name, shape in expected.items():
        found = artifact.tensors.get(name)
        if found is None or found.shape != shape:
            what = "is missing" if found is None else f"has shape {tuple(found.shape)}"
            raise ValueError(f"{artifact.folder}: tensor {name} {what}, {tuple(shape)} is expected")
        if not torch.isfinite(found).all():
            raise ValueError(f"{artifact.folder}: tensor {name} has values that are not finite")
    for name in artifact.tensors:
        if name.startswith(("core.", "alignment.")) and name not in expected:
            raise ValueError(f"{artifact.folder}: tensor {name} has no place in the config's shapes")


def _targets(groups: tuple[SiteGroup, ...]) -> Iterator[ProjectionTarget]:
    order = {group.module: index for index, group in reversed(list(enumerate(groups)))}
    pairs = [(layer, order[group.module], group) for group in groups for layer in group.layers]
    for layer, _, group in sorted(pairs, key=lambda pair: pair[:2]):
        yield ProjectionTarget(
            layer_index=layer,
            module_name=group.module,
            module_path=MODULE_PATHS[group.module],
            in_features=group.d_in,
            out_features=group.d_out,
            input_group=group.input,
            output_group=group.output,
        )


def _card(config: ArtifactConfig) -> str:
    tasks = "\n".join(f"- `{task}`" for task in config.tasks)
    modules = ", ".join(config.adapter.modules)
    return (
        f"---\nbase_model: {config.base_model_name_or_path}\nlibrary_name: portallib\n"
        "tags:\n- lora\n- portal\n---\n\n"
        f"# PorTAL artifact for {config.base_model_name_or_path}\n\n"
        f"Task latents, core decoder and this base's converter (revision `{config.base_model_revision}`). "
        f"It generates rank-{config.rank} LoRA adapters (alpha {config.alpha}) for {modules}.\n\n"
        f"## Tasks\n\n{tasks}\n\n"
        "## Use\n\n`portal export FOLDER --task TASK --out DIR` writes a PEFT adapter; "
        "`portal port FOLDER --to BASE --out DIR` carries the tasks to another base.\n"
    )
