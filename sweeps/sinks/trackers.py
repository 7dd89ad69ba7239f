"""`Tracker`: where runs are logged, and the trackers that there are. A run of the study is a run there.

Addresses and tokens come from the environment, as each tracker reads it; none of them is stored here. A
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

from portal.messages import nearest


class Tracker(ABC):
    """A place where runs are logged: each is opened once per launch, logged epoch by epoch, and ended once.

    `name` is the tracker's for `--tracker`, `module` the one to import, `package` what pip installs, and
    `variables` of the environment say where it logs to. `runs` are the open runs by key, as its library has
    them; most libraries have runs with the two calls that `log` and `end` make.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    package: ClassVar[str]
    variables: ClassVar[tuple[str, ...]] = ()

    def __init__(self, study: str, folder: Path) -> None:
        self.study, self.folder = study, folder
        self.library = import_module(self.module)
        self.runs: dict[str, Any] = {}

    @classmethod
    def check(cls) -> None:
        """ValueError when its library is not installed, or its address is not set."""
        if find_spec(cls.module) is None:
            raise ValueError(f"tracker {cls.name}: not installed; `pip install '{cls.package}'` brings it")

    @classmethod
    def address(cls) -> str:
        """The place that it logs to, which is kept only as a digest."""
        return " ".join(os.environ.get(name, "") for name in cls.variables)

    @abstractmethod
    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        """Begin the run of that content key, or go on with the one `known` by its id; returns the id."""

    def configure(self, key: str, config: Mapping[str, Any]) -> None:  # noqa: B027 - most do when they open
        """Log the config of an open run, once."""

    def log(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an epoch of an open run."""
        self.runs[key].log(dict(metrics), step=epoch)

    def end(self, key: str, *, failed: bool) -> None:
        """End an open run."""
        self.runs.pop(key).finish()

    def close(self) -> None:
        """End this launch's logging; runs that have not ended go on in the next one."""
        for key in list(self.runs):
            self.end(key, failed=False)


class TensorBoard(Tracker):
    """Event files below a folder, one per run; no service is needed."""

    name, module, package = "tensorboard", "tensorboardX", "ray[tune]"

    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        self.runs[key] = self.library.SummaryWriter(str(self.folder / "tensorboard" / key))
        if known is None:
            lines = [f"| {item} | {value} |" for item, value in {"run": name, **config}.items()]
            self.runs[key].add_text("config", "\n".join(["| setting | value |", "|:--|:--|", *lines]))
        return key

    def log(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.runs[key].add_scalar(name, value, epoch)
        self.runs[key].flush()

    def end(self, key: str, *, failed: bool) -> None:
        self.runs.pop(key).close()


class MLflow(Tracker):
    """An MLflow server (MLFLOW_TRACKING_URI), an experiment per study."""

    name, module, package = "mlflow", "mlflow", "portal-sweeps[mlflow]"
    variables = ("MLFLOW_TRACKING_URI",)
    _PATIENCE: ClassVar[dict[str, str]] = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    }
    """Its own patience is four minutes per request."""

    def __init__(self, study: str, folder: Path) -> None:
        for name, value in self._PATIENCE.items():
            os.environ.setdefault(name, value)
        super().__init__(study, folder)
        self._client = self.library.MlflowClient()

    @classmethod
    def check(cls) -> None:
        super().check()
        if "MLFLOW_TRACKING_URI" not in os.environ:
            raise ValueError("tracker mlflow: set MLFLOW_TRACKING_URI to the address of its server")

    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        if known is None:
            experiment = self.library.set_experiment(self.study).experiment_id
            run = self._client.create_run(experiment, tags={"portal.run": key}, run_name=name)
            known = str(run.info.run_id)
        self.runs[key] = known
        return known

    def configure(self, key: str, config: Mapping[str, Any]) -> None:
        params = [(item, str(value)[:500]) for item, value in config.items()]
        for start in range(0, len(params), 100):  # as many as a request may hold
            self.library.log_params(dict(params[start : start + 100]), run_id=self.runs[key])

    def log(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        self.library.log_metrics(dict(metrics), step=epoch, run_id=self.runs[key])

    def end(self, key: str, *, failed: bool) -> None:
        self._client.set_terminated(self.runs.pop(key), "FAILED" if failed else "FINISHED")

    def close(self) -> None:
        self.runs.clear()  # the server keeps them open


class WandB(Tracker):
    """Weights & Biases (WANDB_API_KEY, WANDB_MODE), a group per study in WANDB_PROJECT or `portal`."""

    name, module, package = "wandb", "wandb", "portal-sweeps[wandb]"
    variables = ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_MODE")

    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        known = known or secrets.token_hex(8)
        self.runs[key] = self.library.init(
            project=os.environ.get("WANDB_PROJECT", "portal"),
            group=self.study,
            id=known,
            name=name,
            config={"run": key, **config},
            dir=str(self.folder),
            resume="allow",
            reinit="create_new",
            settings=self.library.Settings(
                silent=True, console="off", init_timeout=30, disable_git=True, disable_code=True,
                x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True,
            ),
        )  # fmt: skip
        return known

    def end(self, key: str, *, failed: bool) -> None:
        self.runs.pop(key).finish(exit_code=int(failed))

    def close(self) -> None:
        for run in self.runs.values():  # they go on in the next launch
            run.mark_preempting()
            run.finish(exit_code=1)
        self.runs.clear()


class Trackio(Tracker):
    """Trackio, local (TRACKIO_DIR) or on a Space (TRACKIO_SPACE_ID), a project per study."""

    name, module, package = "trackio", "trackio", "portal-sweeps[trackio]"
    variables = ("TRACKIO_SPACE_ID", "TRACKIO_DIR")

    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        known = known or f"{name} {secrets.token_hex(4)}"
        self.runs[key] = self.library.init(
            project=self.study,
            name=known,
            config={"run": key, **config},
            resume="allow",
            space_id=os.environ.get("TRACKIO_SPACE_ID"),
        )
        return known


TRACKERS: dict[str, type[Tracker]] = {kind.name: kind for kind in (TensorBoard, MLflow, WandB, Trackio)}
"""The trackers by name. To add one, write its class above and enter it here."""


def find_tracker(name: str) -> type[Tracker]:
    """The kind of tracker of that name; ValueError for an unknown name, and where it cannot work."""
    if name not in TRACKERS:
        raise ValueError(f"unknown tracker {name!r}{nearest(name, TRACKERS)}")
    TRACKERS[name].check()
    return TRACKERS[name]
