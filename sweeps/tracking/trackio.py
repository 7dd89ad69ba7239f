"""Trackio: runs of a study in a local or hosted project."""

import os
import secrets
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from sweeps.tracking.tracker import Tracker


class Trackio(Tracker):
    """Trackio, local (TRACKIO_DIR) or on a Space (TRACKIO_SPACE_ID), a project per study."""

    name, module, package = "trackio", "trackio", "portal-sweeps[trackio]"

    @classmethod
    def address(cls) -> str:
        return " ".join(os.environ.get(name, "") for name in ("TRACKIO_SPACE_ID", "TRACKIO_DIR"))

    def __init__(self, study: str, folder: Path) -> None:
        super().__init__(study, folder)
        self._trackio = import_module("trackio")
        self._runs: dict[str, Any] = {}

    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        known = known or f"{name} {secrets.token_hex(4)}"
        self._runs[key] = self._trackio.init(
            project=self.study,
            name=known,
            config={"run": key, **config},
            resume="allow",
            space_id=os.environ.get("TRACKIO_SPACE_ID"),
        )
        return known

    def log(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        self._runs[key].log(dict(metrics), step=epoch)

    def end(self, key: str, *, failed: bool) -> None:
        self._runs.pop(key).finish()

    def close(self) -> None:
        for key in list(self._runs):
            self.end(key, failed=False)
