"""`Recipe`: the defaults of the settings that a study leaves out.

The learning rate's schedule is in docs/method.md, "Recipes".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from portal.config import Method
from portal.messages import nearest
from portal.methods import find_method

RecipeName = Literal["paper", "portallib-0.2", "many-tasks"]


@dataclass(frozen=True)
class Recipe:
    """Seeds, rows per task, and training settings of joint training, of a refit, of LoRAs and of teaching."""

    seeds: tuple[int, ...]
    source_size: int
    refit_size: int
    source: Mapping[str, Any] = field(default_factory=dict)
    refit: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] = field(default_factory=lambda: {"lr": 1e-4})
    teach: Mapping[str, Any] = field(default_factory=lambda: {**_steps(200), "lr_latent": 1e-2})

    def size(self, method: Method) -> int:
        """Rows per task, at most."""
        return self.refit_size if find_method(method).recipe == "refit" else self.source_size

    def train(self, method: Method) -> dict[str, Any]:
        """Keys of a TrainConfig; the rest are its defaults, the paper's."""
        match find_method(method).recipe:
            case "joint":
                return dict(self.source)
            case "refit":
                return dict(self.refit)
            case "lora":
                return dict(self.lora)
            case "teach":
                return dict(self.teach)
            case None:
                return {}


def _steps(number: int) -> dict[str, Any]:
    """So many steps, whatever the number of rows, and the last one is scored."""
    return {"epochs": 1, "rounds_per_epoch": number, "evaluate": "last_epoch"}


_LINEAR = {"schedule": "linear", "warmup_ratio": 0.1}
RECIPES: dict[RecipeName, Recipe] = {
    "paper": Recipe(seeds=(0, 1, 2), source_size=2000, refit_size=2000),
    "portallib-0.2": Recipe(
        seeds=(0,),
        source_size=2000,
        refit_size=1000,
        source={"epochs": 12, "rounds_per_epoch": 500, **_LINEAR},
        refit={"epochs": 5, **_LINEAR},
    ),
    "many-tasks": Recipe(
        seeds=(0, 1, 2),
        source_size=2000,
        refit_size=2000,
        source={
            **_steps(600),
            "lr": 2e-3,
            "lr_latent": 1e-2,
            "weight_decay": 1.0,
            "factor_decay": 3e-2,
            "ema_floor": 0.5,
            **_LINEAR,
        },
        refit={
            **_steps(160),
            "lr": 1.4e-3,
            "weight_decay": 4.0,
            "ema_floor": 0.5,
            "layer_start": "source",
            **_LINEAR,
        },
        lora={**_steps(80), "lr": 1.8e-3, "weight_decay": 4.0, **_LINEAR},
    ),
}
"""`portallib-0.2` trains on leading rows; here a cap is a seeded subset in every recipe. `many-tasks` takes
as many steps whatever the number of rows; docs/results/village-settings says where it comes from."""


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; ValueError for an unknown one."""
    for known, recipe in RECIPES.items():
        if known == name:
            return recipe
    raise ValueError(f"unknown recipe {name!r}{nearest(name, RECIPES)}")
