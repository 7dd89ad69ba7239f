"""`LaunchResult`: how a launch ended, computed from our own markers, never from Ray's."""

from collections.abc import Collection
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
    """Counts of a study's runs after a launch, and every run that has no result.

    `tried` counts the runs that this launch set out to train; of those it finished `trained`, and `failed`
    ended in a failure of their own.
    """

    total: int
    done: int
    tried: int
    trained: int
    failed: int
    failures: tuple[Failure, ...]
    wall_s: float

    @property
    def exit_code(self) -> int:
        """0: all done; 3: some runs have no result."""
        return EXIT_FAILED if self.failures else EXIT_DONE

    @property
    def summary(self) -> str:
        """What this launch did, for people: `3 trained now, 1 failed now`."""
        if not self.tried:
            return "nothing was left to train"
        failed = f", {self.failed} failed now" if self.failed else ""
        return f"{self.trained or 'none'} trained now{failed}"


def launch_result(
    study: Study, store: Store, *, tried: Collection[str], cause: str, log: Path, wall_s: float
) -> LaunchResult:
    """The launch's result as it is on disk, where `tried` are the keys of the runs it set out to train.

    `cause` and `log` explain runs that left no marker of their own.
    """
    failures = [_failure(run, study, store, cause, log) for run in study.runs if not store.is_done(run.key)]
    absent = {failure.run for failure in failures}
    return LaunchResult(
        total=len(study.runs),
        done=len(study.runs) - len(failures),
        tried=len(tried),
        trained=sum(key not in absent for key in tried),
        failed=sum(key in absent and store.failure(key) is not None for key in tried),
        failures=tuple(failures),
        wall_s=wall_s,
    )


def _failure(run: RunConfig, study: Study, store: Store, cause: str, log: Path) -> Failure:
    own = store.failure(run.key)
    if own is not None:
        return Failure(run.key, run.describe(), own["cause"], own["log"])
    source = store.failure(run.source) if run.source in study.by_key else None
    if source is not None:
        return Failure(run.key, run.describe(), f"its source run {run.source} failed", source["log"])
    return Failure(run.key, run.describe(), cause, str(log))
