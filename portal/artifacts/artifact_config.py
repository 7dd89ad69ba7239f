"""`ArtifactConfig`: `config.json` of an artifact, in the reference library's format 1 or this project's 2.

An artifact has format 1, which portallib loads, unless it needs more; portallib refuses format 2 by name.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field, model_validator

from portal.artifacts.adapter_record import AdapterRecord
from portal.bases.sites import MODULE_PATHS, SiteGroup
from portal.config import AdapterConfig, HypernetConfig, Module
from portal.frozen import Frozen, Retired
from portal.hypernet import Converter, CoreDecoder
from portal.tasks.builder import check_task_name

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
    def _targets_lie_inside(self) -> "ArtifactConfig":
        for task in self.tasks:
            check_task_name(task)
        for target in self.projection_targets:
            if target.layer_index >= self.n_layers:
                raise ValueError(f"projection target in layer {target.layer_index} of {self.n_layers}")
        return self

    @model_validator(mode="after")
    def _newer_keys_have_their_format(self) -> "ArtifactConfig":
        for name in _NEWER:
            if getattr(self, name) and self.format_version == 1:
                raise ValueError(f"{name} needs format_version 2")
        return self

    @model_validator(mode="after")
    def _targets_have_heads(self) -> "ArtifactConfig":
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
        return Converter(
            self.hypernet,
            self.groups,
            num_layers=self.n_layers,
            zero_output=True,
            generator=torch.Generator(),
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
