"""`Site`: one linear layer of a base that can be adapted, found by its exact path; groups of equal sites.

Below them is what is adapted in place of a module that was asked for, and in how many layers.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from portal.modules import ALL_MODULES, MODULES, PROJECTIONS, adapted_in, all_of, covered_by

MODULE_PATHS = {module: PROJECTIONS[module].paths[0] for module in ALL_MODULES}
"""Where a Llama-like layer has its modules."""
LAYER_PATHS = (
    *("model.layers", "model.language_model.layers", "language_model.model.layers", "model.decoder.layers"),
    *("transformer.h", "transformer.blocks", "gpt_neox.layers", "gpt_neox_japanese.layers", "biogpt.layers"),
    "backbone.layers",
)


@dataclass(frozen=True)
class Site:
    """One linear layer that can be adapted: y = W x, W of shape (d_out, d_in); Conv1D holds its transpose."""

    layer: int
    module: str
    path: str
    d_in: int
    d_out: int

    @property
    def path_in_layer(self) -> str:
        """The path below the layer."""
        return self.path.partition(f".{self.layer}.")[2]


@dataclass(frozen=True)
class SiteGroup:
    """Sites of one module, at one path below their layers and of equal widths, that are generated together.

    `input` and `output` name the converter's parameters, which groups of equal width share: the module where
    all its layers are equally wide, else `<module>__in_<width>` and `<module>__out_<width>`. `head` names the
    core's heads: the module that was asked for, for which this one may stand in.
    """

    module: str
    d_in: int
    d_out: int
    input: str
    output: str
    layers: tuple[int, ...]
    head: str
    path: str


def find_layer_path(model: nn.Module) -> str:
    """The dotted path of the decoder's layer list; ValueError when it is none of the known ones."""
    for path in LAYER_PATHS:
        try:
            layers = model.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(layers, nn.ModuleList) and len(layers) > 0:
            return path
    raise ValueError(f"{type(model).__name__} has no decoder layers at any of {', '.join(LAYER_PATHS)}")


def find_sites(model: nn.Module, layer_path: str) -> tuple[Site, ...]:
    """Every linear layer that can be adapted, ordered by layer and module.

    One that several decoder layers share is none: an adapter of one of them would act in all.
    """
    layers = model.get_submodule(layer_path)
    assert isinstance(layers, nn.ModuleList)
    found: list[tuple[Site, nn.Module]] = []
    for index, layer in enumerate(layers):
        for module in MODULES:
            path = next((path for path in PROJECTIONS[module].paths if _has(layer, path)), None)
            if path is not None:
                linear, full = layer.get_submodule(path), f"{layer_path}.{index}.{path}"
                found.append((Site(index, module, full, *_widths(linear, full)), linear))
    uses = Counter(id(linear) for _, linear in found)
    sites = tuple(site for site, linear in found if uses[id(linear)] == 1)
    if not sites:
        raise ValueError(
            f"{type(model).__name__} has none of the projections that can be adapted: {', '.join(MODULES)}"
        )
    return sites


def _has(layer: nn.Module, path: str) -> bool:
    for name in path.split("."):
        child = layer._modules.get(name)
        if child is None:
            return False
        layer = child
    return True


def _widths(linear: nn.Module, path: str) -> tuple[int, int]:
    """(d_in, d_out); ValueError for what is no linear layer."""
    if isinstance(linear, nn.Linear):
        return linear.in_features, linear.out_features
    if isinstance(linear, Conv1D):
        d_in, d_out = linear.weight.shape
        return d_in, d_out
    raise ValueError(f"{path} is a {type(linear).__name__}, not a linear layer that can be adapted")


def linear_weight(linear: nn.Module) -> Tensor:
    """W of a site's layer, (d_out, d_in), without its gradient."""
    assert isinstance(linear, nn.Linear | Conv1D)
    weight = linear.weight.detach()
    return weight.T if isinstance(linear, Conv1D) else weight


def by_layer(sites: Iterable[Site]) -> dict[int, dict[str, Site]]:
    """The sites by layer and module."""
    layers: dict[int, dict[str, Site]] = {}
    for site in sites:
        layers.setdefault(site.layer, {})[site.module] = site
    return layers


def adapted_sites(sites: Iterable[Site], modules: Sequence[str]) -> list[Site]:
    """Those that are adapted when `modules` are asked for; none where the base has nothing of them."""
    return [own[module] for own in by_layer(sites).values() for module, _ in adapted_in(own, modules)]


def group_sites(sites: Sequence[Site], modules: Sequence[str]) -> tuple[SiteGroup, ...]:
    """What is adapted when `modules` are asked for, in that order; where a layer lacks one, what stands in.

    ValueError where the base has nothing of what is asked for.
    """
    members: dict[tuple[str, str], list[Site]] = {}
    for own in by_layer(sites).values():
        for module, head in adapted_in(own, modules):
            members.setdefault((head, module), []).append(own[module])
    if not members:
        raise ValueError(
            f"the base has no projection {' or '.join(map(repr, modules))}; it has {_named(sites)}"
        )
    places = sorted(members, key=lambda place: (modules.index(place[0]), MODULES.index(place[1])))
    return tuple(group for head, module in places for group in _groups(head, module, members))


def _groups(head: str, module: str, members: dict[tuple[str, str], list[Site]]) -> list[SiteGroup]:
    """The groups of a module under one head; parameters are named by all sites of the module."""
    everywhere = [site for (_, each), own in members.items() if each == module for site in own]
    one_input = len({site.d_in for site in everywhere}) == 1
    one_output = len({site.d_out for site in everywhere}) == 1
    layers: dict[tuple[int, int, str], list[int]] = {}
    for site in members[head, module]:
        layers.setdefault((site.d_in, site.d_out, site.path_in_layer), []).append(site.layer)
    return [
        SiteGroup(
            module=module,
            d_in=d_in,
            d_out=d_out,
            input=module if one_input else f"{module}__in_{d_in}",
            output=module if one_output else f"{module}__out_{d_out}",
            layers=tuple(sorted(own)),
            head=head,
            path=path,
        )
        for (d_in, d_out, path), own in sorted(layers.items())
    ]


def count_groups(groups: Iterable[SiteGroup]) -> dict[str, int]:
    """By module the number of layers that are adapted."""
    counts: dict[str, int] = {}
    for group in groups:
        counts[group.module] = counts.get(group.module, 0) + len(group.layers)
    return counts


def name_modules(counts: Mapping[str, int], num_layers: int) -> str:
    """`q, v in all 4 layers`, or `q (in 2), in_qkv (in 2) of 4 layers` where not all layers have them."""
    named = ", ".join(
        name if count == num_layers else f"{name} (in {count})" for name, count in counts.items()
    )
    return f"{named} {'in all' if set(counts.values()) == {num_layers} else 'of'} {num_layers} layers"


def check_modules(sites: Sequence[Site], modules: Sequence[str]) -> None:
    """ValueError for a module that was asked for by name and that no layer has, nor anything in its place."""
    layers = by_layer(sites).values()
    missing = [module for module in modules if not any(covered_by(own, module) for own in layers)]
    if missing and not all_of(modules):
        raise ValueError(f"the base has no projection {missing[0]!r}; it has {_named(sites)}")


def _named(sites: Sequence[Site]) -> str:
    return ", ".join(module for module in MODULES if module in {site.module for site in sites})


def check_rank(sites: Sequence[Site], modules: Sequence[str], rank: int) -> None:
    """ValueError when `rank` exceeds the narrowest adapted width."""
    for group in group_sites(sites, modules):
        if rank > min(group.d_in, group.d_out):
            raise ValueError(
                f"rank {rank} is above the width of {group.module!r} ({group.d_out} x {group.d_in}); "
                f"use at most {min(group.d_in, group.d_out)}"
            )


class Layers(Protocol):
    """Decoder layers, of a loaded base or of a layout."""

    @property
    def num_layers(self) -> int: ...
    @property
    def sites(self) -> tuple[Site, ...]: ...


@dataclass(frozen=True)
class ModuleCoverage:
    """A module that was asked for: layers that have it, and by what stands in for it those of that."""

    module: str
    num_layers: int
    own: int
    stand_ins: tuple[tuple[str, int], ...]
    covered: int
    """Layers that have the module or something in its place."""

    @property
    def is_full(self) -> bool:
        """Whether every layer has the module, or what stands in for it."""
        return self.covered == self.num_layers

    def adapted_as(self) -> str:
        """`q 2, in_qkv 2`: what is adapted for the module, and in how many layers; empty where nothing is."""
        own = [(self.module, self.own)] if self.own else []
        return ", ".join(f"{module} {layers}" for module, layers in (*own, *self.stand_ins))

    def __str__(self) -> str:
        parts = [f"{self.module} in {self.own}"] if self.own else []
        parts += [f"{other} for {self.module} in {layers}" for other, layers in self.stand_ins]
        return " and ".join(parts) or f"{self.module} in none"


def count_layers(sites: Sequence[Site]) -> dict[str, int]:
    """By module the number of layers that have it."""
    counts = Counter(site.module for site in sites)
    return {module: counts[module] for module in MODULES if module in counts}


def cover(layout: Layers, modules: Sequence[str]) -> list[ModuleCoverage]:
    """What is adapted when these modules are asked for, an item for each of them.

    What stands in for several of them is adapted once, and is named with each.
    """
    layers = by_layer(layout.sites).values()
    covered = {module: [covered_by(own, module) for own in layers] for module in modules}
    counts = {module: Counter(each for own in found for each in own) for module, found in covered.items()}
    return [
        ModuleCoverage(
            module,
            layout.num_layers,
            counts[module].pop(module, 0),
            tuple((each, counts[module][each]) for each in MODULES if each in counts[module]),
            sum(map(bool, covered[module])),
        )
        for module in modules
    ]


def coverage_note(name: str, layout: Layers, modules: Sequence[str]) -> str | None:
    """One sentence on a base where a module is not adapted, itself, in every layer; None where all are."""
    covered = cover(layout, modules)
    if all(each.own == layout.num_layers for each in covered):
        return None
    listed = ", ".join(str(each) for each in covered)
    asked = "all modules" if all_of(modules) else " and ".join(modules)
    return f"base {name}: {asked} of {layout.num_layers} layers are adapted as {listed}"


def check_coverage(name: str, layout: Layers, modules: Sequence[str]) -> None:
    """ValueError where a module that was asked for has no adapter in some layer."""
    lacking = [each for each in cover(layout, modules) if not each.is_full]
    if lacking:
        raise ValueError(
            f"base {name!r}: coverage full is asked for, and of {layout.num_layers} layers it has "
            f"{', '.join(map(str, lacking))}"
        )
