"""What TensorBoard was told of a run, and what it is to be told: the scores of the run's own table."""

from pathlib import Path

import pytest

from portal.config import RunConfig
from portal.results import RESULTS, read_table
from sweeps.store.run_store import RunStore

Scores = list[tuple[int, float]]
"""(epoch, task mean of acc_norm on test rows)."""


def tensorboard_history(out: Path, run: RunConfig) -> Scores:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "trackers" / "tensorboard" / run.key)).Reload()
    return [(event.step, event.value) for event in events.Scalars("test/acc_norm")]


def mean_scores(out: Path, run: RunConfig) -> Scores:
    """By the run's own table, approximately."""
    by_epoch: dict[int, list[float]] = {}
    for row in read_table(RunStore(out).run_folder(run.key) / "results.parquet", RESULTS).to_pylist():
        if row["split"] == "test":
            by_epoch.setdefault(row["epoch"], []).append(row["acc_norm"])
    return [(epoch, pytest.approx(sum(of) / len(of))) for epoch, of in sorted(by_epoch.items())]
