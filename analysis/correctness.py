"""`TaskOutcomes`: the prediction table as counts of right answers by cluster, the input of the bootstrap."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.runs import Run
from analysis.selection import REPORTED_SPLIT
from portal.results import UNITS


@dataclass(frozen=True)
class TaskOutcomes:
    """One task's reported rows: documents in each cluster, and each run's right answers there."""

    sizes: np.ndarray  # (C,)
    correct: Mapping[str, np.ndarray]  # run key -> (C,)


def is_correct(table: pa.Table, unit: str) -> np.ndarray:
    """(N,) whether the gold choice has the highest log-likelihood per length; ties go to the first choice."""
    if unit not in UNITS:
        raise ValueError(f"acc_norm unit {unit!r}: known are {', '.join(UNITS)}")
    scores_column = table["scores"].combine_chunks()
    scores = scores_column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    lengths_column = table[UNITS[unit]].combine_chunks()
    lengths = lengths_column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    counts = pc.list_value_length(scores_column).to_numpy(zero_copy_only=False)
    if len(counts) == 0:
        return np.zeros(0, dtype=bool)
    normalised = scores / lengths
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    highest = np.maximum.reduceat(normalised, starts)
    at_highest = np.flatnonzero(normalised == np.repeat(highest, counts))
    first = at_highest[np.searchsorted(at_highest, starts)]
    return first - starts == table["gold"].to_numpy()


def gather_outcomes(
    predictions: pa.Table, runs: Mapping[str, Run], epochs: Mapping[str, Mapping[str, int]]
) -> dict[str, TaskOutcomes]:
    """Outcomes by task of the test rows of `runs` at the chosen `epochs` (run key -> task -> epoch).

    Raises ValueError when two runs were scored on unlike examples, or one of them has no predictions.
    """
    wanted = pc.and_(
        pc.is_in(predictions["run"], value_set=pa.array(sorted(runs), pa.string())),
        pc.equal(predictions["split"], REPORTED_SPLIT),
    )
    rows = predictions.filter(wanted)
    outcomes = {}
    for task in sorted({task for chosen in epochs.values() for task in chosen}):
        of_task = rows.filter(pc.equal(rows["task"], task))
        tables = {
            key: of_task.filter(
                pc.and_(pc.equal(of_task["run"], key), pc.equal(of_task["epoch"], epochs[key][task]))
            ).sort_by("example")
            for key in sorted(runs)
            if task in epochs[key]
        }
        outcomes[task] = _count(task, tables, {key: runs[key].acc_norm_unit for key in tables})
    return outcomes


def _count(task: str, tables: Mapping[str, pa.Table], units: Mapping[str, str]) -> TaskOutcomes:
    first_key = next(iter(tables))
    examples = tables[first_key]["example"]
    clusters, index = np.unique(
        tables[first_key]["cluster"].to_numpy(zero_copy_only=False), return_inverse=True
    )
    correct = {}
    for key, table in tables.items():
        if table.num_rows == 0:
            raise ValueError(f"run {key}: no predictions of task {task!r} in predictions.parquet")
        if not table["example"].equals(examples):
            raise ValueError(f"task {task!r}: runs {first_key} and {key} were scored on unlike examples")
        correct[key] = np.bincount(index, weights=is_correct(table, units[key]), minlength=len(clusters))
    return TaskOutcomes(np.bincount(index, minlength=len(clusters)).astype(np.float64), correct)
