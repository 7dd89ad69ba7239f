"""`BaseLayout`: what can be adapted in a base, from its config or its published one alone."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from portal.bases.base_config import outline_config
from portal.bases.layer_kinds import attention_implementation, takes_branches
from portal.bases.model_class import model_class
from portal.bases.sites import Site, find_layer_path, find_sites
from portal.lazy import no_collection
from portal.messages import one_line


@dataclass(frozen=True)
class BaseLayout:
    """The decoder layers of a base: how many there are, and what can be adapted in them."""

    num_layers: int
    sites: tuple[Site, ...]


@lru_cache(maxsize=64)
def base_layout(name: str) -> BaseLayout:
    """The layout of a base: from its published config where that is known, else from its own."""
    config = outline_config(name)
    try:
        with torch.device("meta"), no_collection():  # the first one of a family imports its modules
            model = model_class(config).from_config(config, trust_remote_code=False)
    except (ValueError, TypeError, AttributeError, KeyError, ImportError) as error:
        raise ValueError(
            f"base {name!r}: transformers makes no causal language model of its config "
            f"({one_line(error, most=200)})"
        ) from None
    path, sites = find_layers(name, model)
    return BaseLayout(len(model.get_submodule(path)), sites)


def base_sites(name: str) -> tuple[Site, ...]:
    """What can be adapted in a base."""
    return base_layout(name).sites


@lru_cache(maxsize=64)
def base_takes_branches(name: str) -> bool:
    """Whether a row may hold all choices of a question, from the base's config."""
    config = outline_config(name)
    return takes_branches(config.get_text_config()) and attention_implementation(config) == "sdpa"


def find_layers(name: str, model: Any) -> tuple[str, tuple[Site, ...]]:
    """The decoder layers, and what can be adapted there; ValueError, naming the base, for none."""
    try:
        path = find_layer_path(model)
        return path, find_sites(model, path)
    except ValueError as error:
        raise ValueError(f"base {name!r}: {error}") from None
