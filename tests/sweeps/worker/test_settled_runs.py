"""What a run starts from, at any depth, decides whether anything waits for it."""

from pathlib import Path

import pytest

from portal.config import RunConfig
from sweeps.store.run_store import RunStore
from sweeps.worker.settled_runs import SettledRuns
from tests.support.bases import make_run


@pytest.fixture
def chain(tmp_path: Path) -> tuple[RunConfig, ...]:
    """Recorded runs, each of which starts from the one before."""
    runs = [make_run("source", "a")]
    for base in ("b", "c"):
        runs.append(make_run("portal", base, source=runs[-1].key))
    for run in runs:
        RunStore(tmp_path).write_run(run)
    return tuple(runs)


def test_runs_are_awaited_until_they_are_finished(tmp_path: Path, chain: tuple[RunConfig, ...]) -> None:
    store, settled = RunStore(tmp_path), SettledRuns(RunStore(tmp_path))
    assert [run.key in settled for run in chain] == [False, False, False]

    store.mark_done(chain[0].key)
    assert [run.key in settled for run in chain] == [True, False, False]

    store.mark_failed(chain[1].key, "diverged", tmp_path / "log")
    assert [run.key in settled for run in chain] == [True, True, True]
    assert chain[2].key not in settled.finished


def test_a_failure_settles_all_that_starts_from_it(tmp_path: Path, chain: tuple[RunConfig, ...]) -> None:
    settled = SettledRuns(RunStore(tmp_path))
    assert chain[2].key not in settled

    RunStore(tmp_path).mark_failed(chain[0].key, "diverged", tmp_path / "log")

    assert [run.key in settled for run in chain] == [True, True, True]
    assert [run.key in settled.finished for run in chain] == [True, False, False]


def test_what_starts_from_an_artifact_made_elsewhere_is_awaited(tmp_path: Path) -> None:
    port = make_run("portal", "b", source="f" * 16)
    RunStore(tmp_path).write_run(port)
    settled = SettledRuns(RunStore(tmp_path), ["f" * 16])

    assert "f" * 16 in settled
    assert port.key not in settled
