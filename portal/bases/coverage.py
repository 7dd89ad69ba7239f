"""How many layers of a base have each module, and what is adapted in place of one that was asked for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from portal.bases.base import Base
from portal.bases.layout import BaseLayout
from portal.bases.sites import Site, by_layer
from portal.modules import MODULES, all_of, covered_by


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


def cover(layout: BaseLayout | Base, modules: Sequence[str]) -> list[ModuleCoverage]:
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


def coverage_note(name: str, layout: BaseLayout | Base, modules: Sequence[str]) -> str | None:
    """One sentence on a base where a module is not adapted, itself, in every layer; None where all are."""
    covered = cover(layout, modules)
    if all(each.own == layout.num_layers for each in covered):
        return None
    listed = ", ".join(str(each) for each in covered)
    asked = "all modules" if all_of(modules) else " and ".join(modules)
    return f"base {name}: {asked} of {layout.num_layers} layers are adapted as {listed}"


def check_coverage(name: str, layout: BaseLayout | Base, modules: Sequence[str]) -> None:
    """ValueError where a module that was asked for has no adapter in some layer."""
    lacking = [each for each in cover(layout, modules) if not each.is_full]
    if lacking:
        raise ValueError(
            f"base {name!r}: coverage full is asked for, and of {layout.num_layers} layers it has "
            f"{', '.join(map(str, lacking))}"
        )
