"""TensorBoard: event files of a study's runs."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from sweeps.tracking.tracker import Tracker


class TensorBoard(Tracker):
    """Event files below a folder, one per run; no service is needed."""

    name, module, package = "tensorboard", "tensorboardX", "ray[tune]"

    def __init__(self, study: str, folder: Path) -> None:
        super().__init__(study, folder)
        self._writer_class = import_module("tensorboardX").SummaryWriter
        self._folder = folder / "tensorboard"
        self._writers: dict[str, Any] = {}

    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        writer = self._writer_class(str(self._folder / key))
        self._writers[key] = writer
        if known is None:
            lines = [f"| {item} | {value} |" for item, value in {"run": name, **config}.items()]
            writer.add_text("config", "\n".join(["| setting | value |", "|:--|:--|", *lines]))
        return key

    def log(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writers[key].add_scalar(name, value, epoch)
        self._writers[key].flush()

    def end(self, key: str, *, failed: bool) -> None:
        self._writers.pop(key).close()

    def close(self) -> None:
        for key in list(self._writers):
            self.end(key, failed=False)
