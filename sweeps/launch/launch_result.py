"""`LaunchResult`: how a launch ended, computed from our own markers, never from Ray's."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from portal.config import RunConfig
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study


@dataclass(frozen=True)
class Failure:
    """A run without a result: what it was, why, and where to read more."""

    run: str
    name: str
    cause: str
    log: str


@dataclass(frozen=True)
class LaunchResult:
    """Counts of a study's runs after a launch, and each run that has no result.

    `tried` counts the runs that this launch set out to train; of those it finished `trained`, `failed` ended
    in a failure of their own, and `left_out` were paused or stopped.
    """

    total: int
    done: int
    tried: int
    trained: int
    failed: int
    left_out: int
    failures: tuple[Failure, ...]
    wall_s: float

    @property
    def is_done(self) -> bool:
        """Whether every run of the study has its result."""
        return not self.failures

    @property
    def summary(self) -> str:
        """What this launch did, for people: `3 trained now, 1 failed now`."""
        if not self.tried:
            return "nothing was left to train"
        failed = f", {self.failed} failed now" if self.failed else ""
        left_out = f", {self.left_out} left out as asked" if self.left_out else ""
        return f"{self.trained or 'none'} trained now{failed}{left_out}"


def launch_result(
    study: Study, status: StudyStatus, *, tried: Collection[str], cause: str, log: Path, wall_s: float
) -> LaunchResult:
    """The launch's result by the status after it, where `tried` are the keys of the runs it set out to train.

    `cause` and `log` explain runs that left no marker of their own.
    """
    done = set(status.done)
    failures = [_failure(run, status, cause, log) for run in study.runs if run.key not in done]
    return LaunchResult(
        total=len(study.runs),
        done=len(done),
        tried=len(tried),
        trained=sum(key in done for key in tried),
        failed=sum(key in status.failed and key not in status.left_out for key in tried),
        left_out=sum(key in status.left_out for key in tried),
        failures=tuple(failures),
        wall_s=wall_s,
    )


def _failure(run: RunConfig, status: StudyStatus, cause: str, log: Path) -> Failure:
    known = status.why_absent(run)
    if known is not None:
        return Failure(run.key, run.describe(), known.cause, known.log)
    return Failure(run.key, run.describe(), cause, str(log))
