"""Weights & Biases: runs of a study in a project."""

import os
import secrets
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from sweeps.tracking.tracker import Tracker


class WandB(Tracker):
    """Weights & Biases (WANDB_API_KEY, WANDB_MODE), a group per study in WANDB_PROJECT or `portal`."""

    name, module, package = "wandb", "wandb", "portal-sweeps[wandb]"

    @classmethod
    def address(cls) -> str:
        names = ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_MODE")
        return " ".join(os.environ.get(name, "") for name in names)

    def __init__(self, study: str, folder: Path) -> None:
        super().__init__(study, folder)
        self._wandb = import_module("wandb")
        self._folder = folder
        self._runs: dict[str, Any] = {}

    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        known = known or secrets.token_hex(8)
        self._runs[key] = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "portal"),
            group=self.study,
            id=known,
            name=name,
            config={"run": key, **config},
            dir=str(self._folder),
            resume="allow",
            reinit="create_new",
            settings=self._wandb.Settings(
                silent=True, console="off", init_timeout=30, disable_git=True, disable_code=True,
                x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True,
            ),
        )  # fmt: skip
        return known

    def log(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        self._runs[key].log(dict(metrics), step=epoch)

    def end(self, key: str, *, failed: bool) -> None:
        self._runs.pop(key).finish(exit_code=int(failed))

    def close(self) -> None:
        for run in self._runs.values():  # they go on in the next launch
            run.mark_preempting()
            run.finish(exit_code=1)
        self._runs.clear()
