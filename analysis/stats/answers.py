"""`TaskAnswers`: every run's answers to one task's reported rows, read from the prediction table.

Shapes: N rows of a task, C clusters of rows, M rows of the whole table, K choices of all its rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.stats.epoch_selection import REPORTED_SPLIT
from analysis.stats.result_table import Run
from portal.results import UNITS


@dataclass(frozen=True)
class Answers:
    """One run's answers to N rows.

    A choice's probability is the softmax over the row's choices of their log-likelihoods, not normalised by
    length. Where n choices tie, an answer is as right as a fair draw among them: 1 / n if gold is one. A
    written answer is as right as its metric says; probabilities mean nothing there.
    """

    correct: np.ndarray  # (N,) by acc_norm, 1 where gold has the highest log-likelihood per length
    likeliest_correct: np.ndarray  # (N,) 1 where it has the highest probability: acc
    confidence: np.ndarray  # (N,) the highest probability
    nll: np.ndarray  # (N,) minus the log of the gold choice's probability, nats
    brier: np.ndarray  # (N,) squared error of the probabilities, summed over choices: 0 to 2
    gold_nll: np.ndarray  # (N,) minus the log-likelihood of the gold answer, nats
    gold_tokens: np.ndarray  # (N,) its tokens

    def rows(self, start: int, stop: int) -> "Answers":
        return Answers(*(getattr(self, field.name)[start:stop] for field in fields(self)))


@dataclass(frozen=True)
class TaskAnswers:
    """One task's reported rows, grouped in clusters of near-duplicates, and each run's answers to them.

    Clusters of several tasks with one name are the same: a person that many tasks ask about. A row that is
    its own cluster is of its task alone.
    """

    names: tuple[str, ...]  # (C,) of the clusters
    clusters: np.ndarray  # (N,) 0 .. C - 1
    answers: Mapping[str, Answers]  # by run key
    has_choices: bool = True  # False: answers are written

    @property
    def sizes(self) -> np.ndarray:
        """(C,) rows of every cluster."""
        return np.bincount(self.clusters).astype(np.float64)

    def sum_by_cluster(self, values: np.ndarray) -> np.ndarray:
        """(C,) sums of (N,) values."""
        return np.bincount(self.clusters, weights=values, minlength=len(self.names))


def gather_answers(
    predictions: pa.Table, runs: Mapping[str, Run], epochs: Mapping[str, Mapping[str, int]]
) -> dict[str, TaskAnswers]:
    """Answers by task to the test rows of `runs` at the chosen `epochs` (run key -> task -> epoch).

    Raises ValueError when two runs were scored on unlike examples, or one of them has no predictions.
    """
    rows = chosen_rows(predictions, runs, epochs)
    answers = _judge(rows, {key: run.acc_norm_unit for key, run in runs.items()})
    starts = _starts(rows)
    gathered = {}
    for task in sorted({task for chosen in epochs.values() for task in chosen}):
        keys = sorted(key for key in runs if task in epochs[key])
        of_task = {}
        first: pa.Table | None = None
        for key in keys:
            if (key, task) not in starts:
                raise ValueError(f"run {key}: no predictions of task {task!r} in predictions.parquet")
            start, stop = starts[key, task]
            part = rows.slice(start, stop - start)
            first = part if first is None else first
            if not part["example"].equals(first["example"]):
                raise ValueError(f"task {task!r}: runs {keys[0]} and {key} were scored on unlike examples")
            of_task[key] = answers.rows(start, stop)
        assert first is not None
        names, clusters = np.unique(_cluster_names(first, task), return_inverse=True)
        has_choices = first["value"].null_count == first.num_rows
        gathered[task] = TaskAnswers(tuple(names.tolist()), clusters, of_task, has_choices)
    return gathered


def chosen_rows(
    predictions: pa.Table, runs: Mapping[str, Run], epochs: Mapping[str, Mapping[str, int]]
) -> pa.Table:
    """Rows of the reported split at the chosen epochs, sorted by run, task and example."""
    wanted = pc.and_(
        pc.is_in(predictions["run"], value_set=pa.array(sorted(runs), pa.string())),
        pc.equal(predictions["split"], REPORTED_SPLIT),
    )
    rows = predictions.filter(wanted).combine_chunks()
    keys, run_M = _codes(rows["run"])
    tasks, task_M = _codes(rows["task"])
    chosen = np.array([[epochs[key].get(task, -1) for task in tasks] for key in keys]).reshape(
        len(keys), len(tasks)
    )
    rows = rows.filter(pa.array(chosen[run_M, task_M] == rows["epoch"].to_numpy()))
    order = [(column, "ascending") for column in ("run", "task", "example")]
    return rows.take(pc.sort_indices(rows, sort_keys=order)).combine_chunks()


def _cluster_names(rows: pa.Table, task: str) -> np.ndarray:
    """(N,) the name of every row's cluster; example ids are counted anew in every task."""
    cluster_N, example_N = (rows[name].to_numpy(zero_copy_only=False) for name in ("cluster", "example"))
    own_N = np.array([f"{task}/{name}" for name in example_N])
    return np.where(cluster_N == example_N, own_N, cluster_N.astype(str))


def _codes(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """The distinct texts, and (M,) which of them each row has."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)


def run_ranges(rows: pa.Table) -> dict[str, tuple[int, int]]:
    """First row and end of every run, in rows as `chosen_rows` sorts them."""
    if rows.num_rows == 0:
        return {}
    keys, run_M = _codes(rows["run"])
    bounds = [0, *(np.flatnonzero(np.diff(run_M)) + 1).tolist(), rows.num_rows]
    return {keys[run_M[start]]: (start, stop) for start, stop in pairwise(bounds)}


def _starts(rows: pa.Table) -> dict[tuple[str, str], tuple[int, int]]:
    """First row and end of every (run, task)."""
    if rows.num_rows == 0:
        return {}
    keys, run_M = _codes(rows["run"])
    tasks, task_M = _codes(rows["task"])
    changes = np.flatnonzero((np.diff(run_M) != 0) | (np.diff(task_M) != 0)) + 1
    bounds = [0, *changes.tolist(), rows.num_rows]
    return {(keys[run_M[start]], tasks[task_M[start]]): (start, stop) for start, stop in pairwise(bounds)}


def _judge(rows: pa.Table, units: Mapping[str, str]) -> Answers:
    """The answers in all rows; `units` name what acc_norm divides by, by run key."""
    unknown = set(units.values()) - set(UNITS)
    if unknown:
        raise ValueError(f"acc_norm unit {min(unknown)!r}: known are {', '.join(UNITS)}")
    if rows.num_rows == 0:
        return Answers(*(np.zeros(0) for _ in fields(Answers)))
    value_K, start_M, count_M = normalised_scores(rows, units)
    score_K, _ = _flat(rows["scores"])
    gold_M = rows["gold"].to_numpy()
    token_K = rows["tokens"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    correct_M = right_share(value_K, start_M, count_M, gold_M)
    value_M = rows["value"].to_numpy(zero_copy_only=False).astype(np.float64)  # NaN where there are choices
    correct_M = np.where(np.isnan(value_M), correct_M, value_M)
    highest_M = np.maximum.reduceat(score_K, start_M)
    weight_K = np.exp(score_K - np.repeat(highest_M, count_M))
    total_M = np.add.reduceat(weight_K, start_M)
    probability_K = weight_K / np.repeat(total_M, count_M)
    gold_probability_M = probability_K[start_M + gold_M]
    return Answers(
        correct=correct_M,
        likeliest_correct=right_share(score_K, start_M, count_M, gold_M),
        confidence=1 / total_M,
        nll=highest_M + np.log(total_M) - score_K[start_M + gold_M],
        brier=np.add.reduceat(probability_K**2, start_M) - 2 * gold_probability_M + 1,
        gold_nll=-score_K[start_M + gold_M],
        gold_tokens=token_K[start_M + gold_M],
    )


def normalised_scores(rows: pa.Table, units: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(K,) log-likelihoods of all choices, each divided by its length in its run's unit (results.UNITS).

    With them the first choice of every row, (M,), and the number of its choices, (M,).
    """
    score_K, count_M = _flat(rows["scores"])
    start_M = np.concatenate(([0], np.cumsum(count_M)[:-1])) if len(count_M) else count_M
    keys, run_M = _codes(rows["run"])
    length_K = np.ones_like(score_K)
    for unit in sorted({units[key] for key in keys}):
        of_unit_M = np.array([units[key] == unit for key in keys])[run_M]
        length_K = np.where(np.repeat(of_unit_M, count_M), _flat(rows[UNITS[unit]])[0], length_K)
    return score_K / length_K, start_M, count_M


def _flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(K,) the numbers of a column of lists, and (M,) how many each list has."""
    lists = column.combine_chunks()
    flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    return flat, pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)


def right_share(
    value_K: np.ndarray, start_M: np.ndarray, count_M: np.ndarray, gold_M: np.ndarray
) -> np.ndarray:
    """(M,) 1 / n where the gold choice is one of the n highest values of its row, else 0."""
    is_highest_K = value_K == np.repeat(np.maximum.reduceat(value_K, start_M), count_M)
    num_highest_M = np.add.reduceat(is_highest_K.astype(np.int64), start_M)
    share_M: np.ndarray = is_highest_K[start_M + gold_M] / num_highest_M
    return share_M
