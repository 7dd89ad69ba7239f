"""MLflow: runs of a study on a server."""

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from sweeps.tracking.tracker import Tracker


class MLflow(Tracker):
    """An MLflow server (MLFLOW_TRACKING_URI), an experiment per study."""

    name, module, package = "mlflow", "mlflow", "portal-sweeps[mlflow]"
    _PATIENCE: ClassVar[dict[str, str]] = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    }
    """Its own patience is four minutes per request."""

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
