"""How far a study is while it runs: states of its runs, result rows so far, scores on validation rows."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from portal.config import RunConfig
from portal.results import RESULTS, RESULTS_FILE, read_table
from portal.storage.paths import Folder, matching
from sweeps.store.output_folder import check_exists
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study
from sweeps.study.manifest import StudyManifest


def read_status(study: Study | StudyManifest, out: Folder) -> StudyStatus:
    """Which runs of the study are done, in training, failed or missing in `out`.

    ValueError when there is no such folder.
    """
    check_exists(out)
    return StudyStatus.read(RunStore(out), study.runs)


def live_rows(store: RunStore, key: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows, evaluation by evaluation; they end early where the run finishes while they are read."""
    for path in _tables(store, key):
        try:
            table = read_table(path, RESULTS, columns=columns)
        except ValueError:
            if path.is_file():
                raise
            return  # the parts are gone: the run's own table is there next time
        yield from table.to_pylist()


def evaluated_parts(store: RunStore) -> dict[str, int]:
    """Number of evaluations of each run that is not finished, by key."""
    return Counter(path.parent.name for path in matching(store.out, f"packs/*/parts/*/*.{RESULTS_FILE}"))


def _tables(store: RunStore, key: str) -> list[Folder]:
    """The run's table, or while it trains those of its evaluations so far."""
    if store.is_done(key):
        return [store.run_folder(key) / RESULTS_FILE]
    return matching(store.out, f"packs/*/parts/{key}/*.{RESULTS_FILE}")


def validation_values(store: RunStore, runs: Sequence[RunConfig], metric: str) -> dict[int, float]:
    """By epoch, the mean of `metric` over trained tasks, then over runs, where every run has scored them.

    Every task has the metric: `score` is the one that tasks of both kinds have.
    """
    by_epoch: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        own: dict[int, list[float]] = defaultdict(list)
        voting = frozenset(run.data.trained_tasks)
        for row in live_rows(store, run.key, ["task", "epoch", "split", metric]):
            if row["split"] == "validation" and row["task"] in voting:
                own[row["epoch"]].append(row[metric])
        for epoch, values in own.items():
            if len(values) == len(voting) * len(run.bases):
                by_epoch[epoch].append(sum(values) / len(values))
    return {
        epoch: sum(values) / len(values) for epoch, values in by_epoch.items() if len(values) == len(runs)
    }
