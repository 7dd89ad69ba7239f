"""From a run's config to the learner that trains it."""

from importlib import import_module

from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.learners.base import Learner, Start


def build_learner(
    run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], *, start: Start | None = None
) -> Learner:
    """A fresh learner for `run`; ValueError where its method has a parent and `start` is missing."""
    if run.spec.parents and start is None:
        raise ValueError(
            f"run {run.describe()}: it starts from a run of {run.spec.parents[0]!r}, none is given"
        )
    return learner_class(run).build(run, bases, rows, start)


def learner_class(run: RunConfig) -> type[Learner]:
    """The class that the method's spec names."""
    module, _, name = run.spec.learner.partition(":")
    found: type[Learner] = getattr(import_module(module), name)
    return found
