"""Scores on validation rows while runs train: means by epoch, over finished runs and runs in training."""

from collections import defaultdict
from collections.abc import Sequence

from portal.config import RunConfig
from sweeps.results.live import live_rows
from sweeps.store.run_store import RunStore


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
