"""`Site`: one adapted linear layer of a base, found by its exact path, and groups of sites of equal width."""

from dataclasses import dataclass
from itertools import groupby

from torch import nn

from portal.bases.geometry import Geometry

MODULE_PATHS = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
LAYER_PATHS = ("model.layers", "model.language_model.layers", "language_model.model.layers")


@dataclass(frozen=True)
class Site:
    """One linear layer that can be adapted: y = W x, W of shape (d_out, d_in)."""

    layer: int
    module: str
    path: str
    d_in: int
    d_out: int


@dataclass(frozen=True)
class SiteGroup:
    """Sites of one module and equal widths; they share the converter's projections and are generated
    together.

    `input` and `output` name the converter's parameters: the module where all its layers are equally wide,
    else `<module>__in_<width>` and `<module>__out_<width>`.
    """

    module: str
    d_in: int
    d_out: int
    input: str
    output: str
    layers: tuple[int, ...]


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
    """Every adaptable linear layer, ordered by layer and module."""
    sites = []
    layers = model.get_submodule(layer_path)
    assert isinstance(layers, nn.ModuleList)
    for index, layer in enumerate(layers):
        for module, path in MODULE_PATHS.items():
            try:
                linear = layer.get_submodule(path)
            except AttributeError:
                continue
            full = f"{layer_path}.{index}.{path}"
            if not isinstance(linear, nn.Linear):
                raise ValueError(
                    f"{full} is a {type(linear).__name__}, not a linear layer that can be adapted"
                )
            sites.append(Site(index, module, full, linear.in_features, linear.out_features))
    if not sites:
        raise ValueError(f"{type(model).__name__} has none of the projections {', '.join(MODULE_PATHS)}")
    return tuple(sites)


def published_sites(geometry: Geometry) -> tuple[Site, ...]:
    """The sites that `find_sites` finds in a model of this geometry, without the model."""
    return tuple(
        Site(layer, module, f"{geometry.layer_path}.{layer}.{path}", *geometry.widths[module])
        for layer in range(geometry.layers)
        for module, path in MODULE_PATHS.items()
    )


def group_sites(sites: tuple[Site, ...], modules: tuple[str, ...]) -> tuple[SiteGroup, ...]:
    """The sites of `modules`, in that order, by equal widths; ValueError names a module the base lacks."""
    groups = []
    for module in modules:
        of_module = [site for site in sites if site.module == module]
        if not of_module:
            raise ValueError(
                f"the base has no projection {module!r}; it has {sorted({s.module for s in sites})}"
            )
        one_input = len({site.d_in for site in of_module}) == 1
        one_output = len({site.d_out for site in of_module}) == 1
        of_module.sort(key=_widths)
        for (d_in, d_out), members in groupby(of_module, key=_widths):
            groups.append(
                SiteGroup(
                    module=module,
                    d_in=d_in,
                    d_out=d_out,
                    input=module if one_input else f"{module}__in_{d_in}",
                    output=module if one_output else f"{module}__out_{d_out}",
                    layers=tuple(sorted(site.layer for site in members)),
                )
            )
    return tuple(groups)


def check_rank(sites: tuple[Site, ...], modules: tuple[str, ...], rank: int) -> None:
    """ValueError when `rank` exceeds the narrowest adapted width."""
    for group in group_sites(sites, modules):
        if rank > min(group.d_in, group.d_out):
            raise ValueError(
                f"rank {rank} is above the width of {group.module!r} ({group.d_out} x {group.d_in}); "
                f"use at most {min(group.d_in, group.d_out)}"
            )


def _widths(site: Site) -> tuple[int, int]:
    return site.d_in, site.d_out
