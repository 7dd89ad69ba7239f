"""From a run's config to the learner that trains it."""

from pathlib import Path

from portal.artifacts.artifact import load_artifact
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.learners.base import Learner
from portal.learners.fixed import FixedLearner
from portal.learners.hypernet import HypernetLearner
from portal.learners.lora import LoraLearner
from portal.learners.peft import PeftLearner
from portal.learners.transfer import Transferred


def build_learner(
    run: RunConfig,
    bases: dict[str, Base],
    rows: dict[str, RowTable],
    *,
    source: Path | None = None,
    transferred: Transferred | None = None,
) -> Learner:
    """A fresh learner for `run`.

    `source` is the folder of the artifact a port starts from, `transferred` what the adapters of a method
    without training are.
    """
    match run.method:
        case "base":
            return FixedLearner(run, bases, rows, transferred=None)
        case "lora":
            assert run.train is not None
            engine = LoraLearner if run.train.engine == "pack" else PeftLearner
            return engine(run, bases, rows)
        case "source" | "hypernet":
            return HypernetLearner(run, bases, rows, source=None)
        case "portal":
            if source is None:
                raise ValueError(f"run {run.describe()}: a port needs the artifact of its source run")
            return HypernetLearner(run, bases, rows, source=load_artifact(source))
        case "cross_lora" | "copy_lora" | "random_lora" | "zero_lora":
            if transferred is None:
                raise ValueError(f"run {run.describe()}: a transfer needs adapters to start from")
            return FixedLearner(run, bases, rows, transferred=transferred)
