"""Experiment trackers: a run of the study is a run there, its epochs are steps.

Their addresses and tokens come from the environment, as each tracker reads it; none of them is stored here. A
tracker's methods raise whatever its library raises: they are called in a process of their own.
"""

import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from portal.config import nearest


class Tracker(ABC):
    """Where runs are logged. A run is opened once a launch, logged epoch by epoch, and ended once."""

    name: ClassVar[str]
    module: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, study: str, folder: Path) -> None:
        self.study = study

    @classmethod
    def check(cls) -> None:
        """Raises ValueError when its library is not installed, or its address is not set."""
        if find_spec(cls.module) is None:
            raise ValueError(f"tracker {cls.name}: not installed; `pip install '{cls.package}'` brings it")

    @classmethod
    def address(cls) -> str:
        """What tells one place that it logs to from another; it is not kept as it is."""
        return ""

    @abstractmethod
    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        """Begin the run of that content key, or go on with the one `known` by an id; its id."""

    def configure(self, key: str, config: Mapping[str, Any]) -> None:  # noqa: B027 - most do when they open
        """Log the config of an open run, once."""

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


class MLflow(Tracker):
    """An MLflow server (MLFLOW_TRACKING_URI), an experiment a study."""

    name, module, package = "mlflow", "mlflow", "portal-sweeps[mlflow]"
    _PATIENCE: ClassVar[dict[str, str]] = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    }
    """Its own patience is four minutes a request."""

    def __init__(self, study: str, folder: Path) -> None:
        super().__init__(study, folder)
        for name, value in self._PATIENCE.items():
            os.environ.setdefault(name, value)
        self._entities = import_module("mlflow.entities")
        self._time = import_module("mlflow.utils.time")
        self._client = import_module("mlflow").MlflowClient()
        self._experiment: str | None = None
        self._runs: dict[str, str] = {}

    @classmethod
    def check(cls) -> None:
        super().check()
        if "MLFLOW_TRACKING_URI" not in os.environ:
            raise ValueError("tracker mlflow: set MLFLOW_TRACKING_URI to the address of its server")

    @classmethod
    def address(cls) -> str:
        return os.environ["MLFLOW_TRACKING_URI"]

    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        if known is None:
            tags = {"portal.run": key}
            known = str(self._client.create_run(self._experiment_id(), tags=tags, run_name=name).info.run_id)
        self._runs[key] = known
        return known

    def configure(self, key: str, config: Mapping[str, Any]) -> None:
        params = [self._entities.Param(item, str(value)[:500]) for item, value in config.items()]
        for start in range(0, len(params), 100):  # as many as a request may hold
            self._client.log_batch(self._runs[key], params=params[start : start + 100])

    def log(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        now = self._time.get_current_time_millis()
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


class Trackio(Tracker):
    """Trackio, local (TRACKIO_DIR) or on a Space (TRACKIO_SPACE_ID), a project a study."""

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


TRACKERS: dict[str, type[Tracker]] = {kind.name: kind for kind in (TensorBoard, MLflow, WandB, Trackio)}


def find_tracker(name: str) -> type[Tracker]:
    """The kind of tracker of that name; ValueError for an unknown name, and where it cannot work."""
    if name not in TRACKERS:
        raise ValueError(f"unknown tracker {name!r}{nearest(name, TRACKERS)}")
    TRACKERS[name].check()
    return TRACKERS[name]
