"""`LaunchResult`: how a launch ended, computed from our own markers, never from Ray's."""

from dataclasses import dataclass
from pathlib import Path

from portal.config import RunConfig
from sweeps.store.run_store import Store
from sweeps.study.expand import Study

EXIT_DONE, EXIT_FAILED = 0, 3


@dataclass(frozen=True)
class Failure:
    """A run without a result: what it was, why, and where to read more."""

    run: str
    name: str
    cause: str
    log: str


@dataclass(frozen=True)
class LaunchResult:
    """Counts of a study's runs after a launch, and every run that has no result."""

    total: int
    done: int
    trained: int  # finished by this launch
    failures: tuple[Failure, ...]
    wall_s: float

    @property
    def exit_code(self) -> int:
        """0: all done; 3: some runs have no result."""
        return EXIT_FAILED if self.failures else EXIT_DONE


def launch_result(
    study: Study, store: Store, *, done_before: int, cause: str, log: Path, wall_s: float
) -> LaunchResult:
    """The outcome as it is on disk; `cause` and `log` explain runs that left no marker of their own."""
    failures = [_failure(run, store, cause, log) for run in study.runs if not store.is_done(run.key)]
    done = len(study.runs) - len(failures)
    return LaunchResult(len(study.runs), done, done - done_before, tuple(failures), wall_s)


def _failure(run: RunConfig, store: Store, cause: str, log: Path) -> Failure:
    own = store.failure(run.key)
    if own is not None:
        return Failure(run.key, run.describe(), own["cause"], own["log"])
    source = store.failure(run.source) if run.source is not None and len(run.source) == len(run.key) else None
    if source is not None:
        return Failure(run.key, run.describe(), f"its source run {run.source} failed", source["log"])
    return Failure(run.key, run.describe(), cause, str(log))
