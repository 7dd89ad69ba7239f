"""The trackers that there are, by name. To add one, write its class in a file here and enter it below."""

from portal.messages import nearest
from sweeps.tracking.mlflow import MLflow
from sweeps.tracking.tensorboard import TensorBoard
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.trackio import Trackio
from sweeps.tracking.wandb import WandB

TRACKERS: dict[str, type[Tracker]] = {kind.name: kind for kind in (TensorBoard, MLflow, WandB, Trackio)}


def find_tracker(name: str) -> type[Tracker]:
    """The kind of tracker of that name; ValueError for an unknown name, and where it cannot work."""
    if name not in TRACKERS:
        raise ValueError(f"unknown tracker {name!r}{nearest(name, TRACKERS)}")
    TRACKERS[name].check()
    return TRACKERS[name]
