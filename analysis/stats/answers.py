"""What runs answered: `TaskAnswers` of one task, `ChoiceAnswers` row by row, `ShownAnswer` with its texts.

Shapes: N rows of a task, C clusters of rows, M rows of the whole table, K choices of all its rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.stats.aggregate import REPORTED_SPLIT
from analysis.stats.result_table import Run
from portal.results import PREDICTIONS, UNITS, Question


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


@dataclass(frozen=True)
class ChoiceAnswer:
    """One run's answer to one row. `worth` is 1 where it is right, 1 / n where gold is one of n that tie;
    then `picked` is another of these.

    `lead` is gold's log-likelihood less that of the best other choice, both divided by their length as
    acc_norm does.
    """

    task: str
    example: str
    gold: int
    picked: int
    worth: float
    lead: float


class ChoiceAnswers:
    """Answers of `runs` to test rows at the chosen `epochs` (run key -> task -> epoch)."""

    def __init__(
        self, predictions: pa.Table, runs: Mapping[str, Run], epochs: Mapping[str, Mapping[str, int]]
    ) -> None:
        rows = chosen_rows(predictions, runs, epochs)
        self._rows = rows.filter(pc.is_null(rows["value"])).combine_chunks()
        units = {key: run.acc_norm_unit for key, run in runs.items()}
        value_K, start_M, count_M = normalised_scores(self._rows, units)
        self._ranges = run_ranges(self._rows)
        self._gold_M = self._rows["gold"].to_numpy()
        if not self._rows.num_rows:
            self._worth_M = self._lead_M = np.zeros(0)
            self._picked_M = np.zeros(0, np.int64)
            return
        gold_K = start_M + self._gold_M
        self._worth_M = right_share(value_K, start_M, count_M, self._gold_M)
        highest_M = np.maximum.reduceat(value_K, start_M)
        places = np.arange(len(value_K))
        rival_K = value_K == np.repeat(highest_M, count_M)
        rival_K[gold_K] = False
        first_M = np.minimum.reduceat(np.where(rival_K, places, len(places)), start_M)
        self._picked_M = np.where(first_M < len(places), first_M, gold_K) - start_M
        others_K = value_K.copy()
        others_K[gold_K] = -np.inf
        self._lead_M = value_K[gold_K] - np.maximum.reduceat(others_K, start_M)

    def of(self, run: str) -> Iterator[ChoiceAnswer]:
        """All of the run's answers, by task and example."""
        return map(self._answer, self._places(run))

    def count_wrong(self, run: str) -> tuple[int, int]:
        """How many of the run's answers are not right, and how many there are."""
        places = self._places(run)
        return int((self._worth_M[places] < 1).sum()), len(places)

    def worst(self, run: str, most: int) -> list[ChoiceAnswer]:
        """Its answers that are not right, those that are furthest off first."""
        places = self._places(run)
        places = places[self._worth_M[places] < 1]
        order = np.argsort(self._lead_M[places], kind="stable")[:most]
        return [self._answer(place) for place in places[order]]

    def _places(self, run: str) -> np.ndarray:
        return np.arange(*self._ranges.get(run, (0, 0)))

    def _answer(self, place: int) -> ChoiceAnswer:
        return ChoiceAnswer(
            self._rows["task"][place].as_py(),
            self._rows["example"][place].as_py(),
            int(self._gold_M[place]),
            int(self._picked_M[place]),
            float(self._worth_M[place]),
            float(self._lead_M[place]),
        )


Epochs = Mapping[str, Mapping[str, int]]
"""The chosen epochs: run key -> task -> epoch."""


@dataclass(frozen=True)
class ShownAnswer:
    """One answer. `worth` is 0 to 1. `lead` is that of `ChoiceAnswer`; a written answer has none.

    `prompt` is empty where the study's folder does not know it; choices then have numbers for texts.
    """

    task: str
    example: str
    prompt: str
    right: str
    text: str
    worth: float
    lead: float | None = None


class ShownAnswers:
    """Answers of `runs` to test rows at the chosen `epochs`.

    They are read from the tables of predictions and of written answers, either of which may be None, and from
    the `questions` by task and example.
    """

    def __init__(
        self,
        predictions: pa.Table | None,
        generations: pa.Table | None,
        questions: Mapping[tuple[str, str], Question],
        runs: Mapping[str, Run],
        epochs: Epochs,
    ) -> None:
        there = PREDICTIONS.empty_table() if predictions is None else predictions
        self._choices = ChoiceAnswers(there, runs, epochs)
        self._questions = questions
        self._written: dict[str, list[ShownAnswer]] = {}
        if generations is not None:
            self._read_written(generations, epochs)

    def of(self, run: str) -> dict[tuple[str, str], ShownAnswer]:
        """All of the run's answers, by task and example."""
        shown = (*map(self._show, self._choices.of(run)), *self._written.get(run, ()))
        return {(each.task, each.example): each for each in shown}

    def count_wrong(self, run: str) -> tuple[int, int]:
        """How many of the run's answers are worth less than 1, and how many there are."""
        wrong, total = self._choices.count_wrong(run)
        written = self._written.get(run, ())
        return wrong + sum(each.worth < 1 for each in written), total + len(written)

    def worst(self, run: str, most: int) -> list[ShownAnswer]:
        """Its answers that are worth less than 1: of choices those furthest off, of written answers those of
        least worth. Where there are many of both, half of either.
        """
        written = sorted(
            (each for each in self._written.get(run, ()) if each.worth < 1), key=lambda each: each.worth
        )
        choices = self._choices.worst(run, most)
        room = most - min(len(written), most // 2)
        chosen = choices[: max(room, most - len(written))]
        return [*map(self._show, chosen), *written[: most - len(chosen)]]

    def _show(self, answer: ChoiceAnswer) -> ShownAnswer:
        question = self._questions.get((answer.task, answer.example))
        return ShownAnswer(
            answer.task,
            answer.example,
            "" if question is None else question.prompt,
            _choice(question, answer.gold),
            _choice(question, answer.picked) + " (tied)" * (0 < answer.worth < 1),
            answer.worth,
            answer.lead,
        )

    def _read_written(self, generations: pa.Table, epochs: Epochs) -> None:
        wanted = pc.and_(
            pc.equal(generations["split"], REPORTED_SPLIT),
            pc.is_in(generations["run"], value_set=pa.array(sorted(epochs), pa.string())),
        )
        for row in generations.filter(wanted).to_pylist():
            if row["epoch"] == epochs[row["run"]].get(row["task"]):
                self._written.setdefault(row["run"], []).append(
                    ShownAnswer(
                        row["task"], row["example"], row["prompt"], row["references"][0], row["text"],
                        row["value"],
                    )
                )  # fmt: skip


def _choice(question: Question | None, place: int) -> str:
    if question is None or place >= len(question.choices):
        return f"choice {place + 1}"
    return question.choices[place].strip()
