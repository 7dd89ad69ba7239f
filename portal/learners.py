"""From a run's config to the learner that trains it."""

from pathlib import Path

from portal.artifact import load_artifact
from portal.base_learner import BaseLearner
from portal.bases import Base
from portal.config import RunConfig
from portal.hypernet_learner import HypernetLearner
from portal.learner import Learner
from portal.lora_learner import LoraLearner
from portal.rows import RowTable


def build_learner(
    run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], *, source: Path | None = None
) -> Learner:
    """A fresh learner for `run`; `source` is the folder of the artifact a port starts from."""
    match run.method:
        case "base":
            return BaseLearner(run, bases, rows)
        case "lora":
            return LoraLearner(run, bases, rows)
        case "source" | "hypernet":
            return HypernetLearner(run, bases, rows, source=None)
        case "portal":
            if source is None:
                raise ValueError(f"run {run.describe()}: a port needs the artifact of its source run")
            return HypernetLearner(run, bases, rows, source=load_artifact(source))
