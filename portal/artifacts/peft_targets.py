"""The names by which peft finds what an adapter is for, and their namesakes, which it must leave alone."""

import re
from collections.abc import Iterable

from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS, SiteGroup


def target_of(path_in_layer: str) -> str:
    """The end of the path: its last name where a Llama-like layer has it, else all of it."""
    return path_in_layer.rsplit(".", 1)[1] if path_in_layer in MODULE_PATHS.values() else path_in_layer


def namesakes(base: Base, groups: Iterable[SiteGroup]) -> tuple[str, ...]:
    """Paths below a layer of modules that are not adapted and that peft would find by the groups' targets."""
    adapted = {group.path for group in groups}
    endings = tuple(f".{target_of(path)}" for path in adapted)
    layers = base.model.get_submodule(base.layer_path)
    paths = {path for layer in layers for path, _ in layer.named_modules()} - adapted
    return tuple(sorted(path for path in paths if f".{path}".endswith(endings)))


def exclusion(paths: Iterable[str], *, in_multimodal: bool) -> str | None:
    """The pattern of modules that peft leaves alone; None where there are none."""
    parts = [re.escape(path) for path in paths]
    patterns = [rf".*\.\d+\.({'|'.join(parts)})"] if parts else []
    if in_multimodal:
        patterns.append(".*(vision_tower|multi_modal_projector).*")
    return "|".join(patterns) or None
