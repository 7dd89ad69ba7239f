"""Experiment trackers: a run of the study is a run there, its epochs are steps.

Their addresses and tokens come from the environment, as each tracker reads it; none of them is stored here.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from portal.config import nearest


class Tracker(ABC):
    """Where runs are logged. A run is opened once a launch, logged epoch by epoch, and ended once.

    `failures` are what its library raises when a service cannot be reached or refuses.
    """

    name: ClassVar[str]
    failures: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, study: str) -> None:
        self.study = study

    @abstractmethod
    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        """Begin the run of that content key, or go on with the one `known` by an id; its id."""

    @abstractmethod
    def log(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """The metrics of an epoch of an open run."""

    @abstractmethod
    def end(self, key: str, *, failed: bool) -> None:
        """The run is over."""

    def close(self) -> None:  # noqa: B027 - most have nothing to do
        """Nothing more is logged by this launch; runs that have not ended go on in the next."""


class TensorBoard(Tracker):
    """Event files below a folder, one a run; needs no service."""

    name = "tensorboard"

    def __init__(self, study: str, folder: Path) -> None:
        super().__init__(study)
        self._writer_class = _library("tensorboardX", "ray[tune]").SummaryWriter
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


class MLflow(Tracker):
    """An MLflow server (MLFLOW_TRACKING_URI), an experiment a study."""

    name = "mlflow"

    def __init__(self, study: str, folder: Path) -> None:
        super().__init__(study)
        library = _library("mlflow", "portal-sweeps[mlflow]")
        if "MLFLOW_TRACKING_URI" not in os.environ:
            raise ValueError("tracker mlflow: set MLFLOW_TRACKING_URI to the address of its server")
        self._entities = import_module("mlflow.entities")
        self.failures = (library.exceptions.MlflowException, OSError)
        self._client = library.MlflowClient()
        self._experiment: str | None = None
        self._runs: dict[str, str] = {}

    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        if known is None:
            tags = {"portal.run": key}
            known = str(self._client.create_run(self._experiment_id(), tags=tags, run_name=name).info.run_id)
            params = [self._entities.Param(item, str(value)[:500]) for item, value in config.items()]
            for start in range(0, len(params), 100):  # as many as a request may hold
                self._client.log_batch(known, params=params[start : start + 100])
        self._runs[key] = known
        return known

    def log(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        now = import_module("mlflow.utils.time").get_current_time_millis()
        entries = [self._entities.Metric(name, value, now, epoch) for name, value in metrics.items()]
        self._client.log_batch(self._runs[key], metrics=entries)

    def end(self, key: str, *, failed: bool) -> None:
        self._client.set_terminated(self._runs.pop(key), "FAILED" if failed else "FINISHED")

    def _experiment_id(self) -> str:
        if self._experiment is None:
            found = self._client.get_experiment_by_name(self.study)
            self._experiment = (
                str(found.experiment_id) if found else str(self._client.create_experiment(self.study))
            )
        return self._experiment


class WandB(Tracker):
    """Weights & Biases (WANDB_API_KEY, WANDB_MODE), a group a study in project WANDB_PROJECT or `portal`."""

    name = "wandb"

    def __init__(self, study: str, folder: Path) -> None:
        super().__init__(study)
        self._wandb = _library("wandb", "portal-sweeps[wandb]")
        self.failures = (self._wandb.errors.Error, OSError)
        self._folder = folder
        self._runs: dict[str, Any] = {}

    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._runs[key] = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "portal"),
            group=self.study,
            id=key,
            name=name,
            config=dict(config),
            dir=str(self._folder),
            resume="allow",
            reinit="create_new",
            settings=self._wandb.Settings(silent=True, console="off"),
        )
        return key

    def log(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        self._runs[key].log(dict(metrics), step=epoch)

    def end(self, key: str, *, failed: bool) -> None:
        self._runs.pop(key).finish(exit_code=int(failed))

    def close(self) -> None:
        for key in list(self._runs):
            self.end(key, failed=False)


class Trackio(Tracker):
    """Trackio, local (TRACKIO_DIR) or on a Space (TRACKIO_SPACE_ID), a project a study."""

    name = "trackio"

    def __init__(self, study: str, folder: Path) -> None:
        super().__init__(study)
        self._trackio = _library("trackio", "portal-sweeps[trackio]")
        self._current = import_module("trackio.context_vars").current_run
        self._runs: dict[str, Any] = {}

    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        self._runs[key] = self._trackio.init(
            project=self.study,
            name=f"{name} {key}",
            config=dict(config),
            resume="allow",
            space_id=os.environ.get("TRACKIO_SPACE_ID"),
        )
        return key

    def log(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        self._runs[key].log(dict(metrics), step=epoch)

    def end(self, key: str, *, failed: bool) -> None:
        self._current.set(self._runs.pop(key))  # else the library ends it again when the process ends
        self._trackio.finish()

    def close(self) -> None:
        for key in list(self._runs):
            self.end(key, failed=False)


TRACKERS: dict[str, Callable[[str, Path], Tracker]] = {
    kind.name: kind for kind in (TensorBoard, MLflow, WandB, Trackio)
}


def open_tracker(name: str, study: str, folder: Path) -> Tracker:
    """The tracker of that name; what it keeps on this machine lies in `folder`.

    Raises ValueError for an unknown name, a library that is not installed, or an address that is not set.
    """
    if name not in TRACKERS:
        raise ValueError(f"unknown tracker {name!r}{nearest(name, TRACKERS)}")
    return TRACKERS[name](study, folder)


def _library(module: str, package: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError:
        raise ValueError(f"tracker {module}: not installed; `pip install '{package}'` brings it") from None
