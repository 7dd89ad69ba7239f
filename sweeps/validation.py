"""Scores of the validation slice while runs train: means by epoch, from finished runs and those at work."""

from collections import defaultdict
from collections.abc import Sequence

from portal.config import RunConfig
from portal.folder import Folder, matching
from portal.results import RESULTS, read_table
from sweeps.collect import RESULTS_FILE
from sweeps.store import Store


def validation_values(store: Store, runs: Sequence[RunConfig], metric: str) -> dict[int, float]:
    """By epoch, the mean of `metric` over tasks, then over runs; epochs that all runs have scored whole."""
    by_epoch: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        own: dict[int, list[float]] = defaultdict(list)
        for path in _tables(store, run.key):
            try:
                table = read_table(path, RESULTS).select(["epoch", "split", metric])
            except ValueError:
                if path.exists():
                    raise
                break  # the run has just finished: its own table is there next time
            for row in table.to_pylist():
                if row["split"] == "validation":
                    own[row["epoch"]].append(row[metric])
        for epoch, values in own.items():
            if len(values) == len(run.data.tasks) * len(run.bases):
                by_epoch[epoch].append(sum(values) / len(values))
    return {
        epoch: sum(values) / len(values) for epoch, values in by_epoch.items() if len(values) == len(runs)
    }


def _tables(store: Store, key: str) -> list[Folder]:
    """The run's table, or while it trains those of its evaluations so far."""
    if store.is_done(key):
        return [store.run_folder(key) / RESULTS_FILE]
    return matching(store.out, f"packs/*/parts/{key}/*.{RESULTS_FILE}")
