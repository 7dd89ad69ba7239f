"""`Evaluator`: scores of a pack's learners on validation and test rows.

The batches of a (base, task, split) are laid out once and serve every learner and epoch; scoring that runs
out of memory goes on with half as many tokens per forward. Adapters that add nothing, as most do before their
first step, are not run: the frozen base's scores are theirs, computed once for all packs of a process. A
device gets the forwards of all tasks before the first scores are read; tables are made while it works on.
Written answers of all tasks of a learner share batches.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import torch
from torch import nn

from portal.answers import AnswerConfig
from portal.bases.base import Base
from portal.data.sampling import evaluation_rows
from portal.data.token_rows import RowTable, eval_set_hash
from portal.device import is_out_of_memory, release_memory
from portal.evaluate.loglikelihood import (
    MAX_TOKENS,
    PendingScores,
    ScoringBatches,
    queue_scores,
    scoring_batches,
)
from portal.evaluate.written import AnswerJournal, Judged, ToWrite, write_answers
from portal.forward.adapter_hooks import AdapterHooks, Segment, select_slots
from portal.hypernet import Factors
from portal.learners.base import Learner
from portal.training.result_rows import Evaluation, evaluation_of
from portal.training.worker_group import WorkerGroup

_Part = tuple[tuple[int, int], Evaluation | str]
"""By the places of base and task: scores, or why they are not finite."""
_Written = dict[tuple[int, str], list[Judged]]
"""By the place of a task and split: the answers to its rows."""


class Evaluator:
    """Scores learners; of several `workers` each scores a part, and all have the whole in the end.

    Written answers go to the `journal`, too, where an evaluation that was interrupted finds them. What frozen
    bases score is taken from `frozen`, and added to it.
    """

    def __init__(
        self,
        bases: Mapping[str, Base],
        rows: Mapping[str, RowTable],
        hooks: Mapping[str, AdapterHooks],
        workers: WorkerGroup,
        journal: AnswerJournal | None = None,
        frozen: "FrozenScores | None" = None,
    ) -> None:
        self._journal = journal
        self._bases, self._rows, self._hooks, self._workers = bases, rows, hooks, workers
        self._batches: dict[RowSet, ScoringBatches] = {}
        self._hashes: dict[tuple[RowSet, AnswerConfig | None], str] = {}
        self._frozen = frozen or FrozenScores()
        self._max_tokens = MAX_TOKENS

    def evaluate(self, learner: Learner, epoch: int, tasks: Sequence[str]) -> Evaluation | str:
        """The learner's scores of these tasks on every base and split, or why one of them is not finite."""
        with self._workers.all_or_none():
            own = self._evaluate_share(learner, epoch, tasks)
        gathered = [part for parts in self._workers.all_gather(own) for part in parts]
        parts = [found for _, found in sorted(gathered, key=lambda part: part[0])]
        causes = [part for part in parts if isinstance(part, str)]
        if causes:
            return causes[0]
        return Evaluation.joined([part for part in parts if isinstance(part, Evaluation)])

    def _evaluate_share(self, learner: Learner, epoch: int, tasks: Sequence[str]) -> list[_Part]:
        """This worker's share of the scores, up to the first one that is not finite."""
        queued: list[tuple[tuple[int, int], str, dict[str, PendingScores], _Written]] = []
        splits = learner.begin_evaluation(tasks, epoch)
        for base in learner.bases:
            place, count = list(self._bases).index(base), len(self._bases)
            own = [index for index in range(len(tasks)) if self._workers.scores(index, place, count)]
            if not own:
                continue
            with torch.no_grad():
                factors = learner.factors(base)
            adds = _adding_slots(learner, factors)
            on_base = []
            for index in own:
                adapter = _adapter(learner, factors, tasks[index], adds)
                pending = {
                    split: self._queue(RowSet(base, tasks[index], split, learner.run.data.eval_size), adapter)
                    for split in splits[tasks[index]]
                    if self._rows[base].has(tasks[index], split)
                }
                on_base.append(((place, index), base, pending))
            written = self._write(
                learner, base, factors, adds, {tasks[index]: index for index in own}, splits
            )
            queued += [(*each, written) for each in on_base]
        parts: list[_Part] = []
        for places, base, pending, written in queued:
            try:
                scored = {split: scores.scored for split, scores in pending.items()}
                for split, items in scored.items():
                    if (judged := written.get((places[1], split))) is not None:
                        pairs = zip(items, judged, strict=True)
                        scored[split] = [replace(item, judged=each) for item, each in pairs]
                hashes = {split: self._hash(learner, base, tasks[places[1]], split) for split in scored}
                parts.append((places, evaluation_of(learner, base, epoch, scored, hashes)))
            except FloatingPointError as error:
                return [*parts, (places, str(error))]
        return parts

    def _write(
        self,
        learner: Learner,
        base: str,
        factors: Factors,
        adds: Sequence[bool],
        places: Mapping[str, int],
        splits: Mapping[str, tuple[str, ...]],
    ) -> _Written:
        """Answers to rows of the tasks whose answers are written; those of the frozen base only once."""
        data = learner.run.data
        wanted = {
            (place, split): RowSet(base, task, split, data.eval_size)
            for task, place in places.items()
            if task in data.answers
            for split in splits[task]
            if self._rows[base].has(task, split)
        }
        found: _Written = {}
        frozen = self._frozen.of(self._bases[base], self._rows[base]).answers
        parts: dict[tuple[int, str], ToWrite] = {}
        for key, rows in wanted.items():
            slot = learner.tasks.index(rows.task)
            answers = data.answers[rows.task]
            if not adds[slot] and (rows, answers) in frozen:
                found[key] = frozen[rows, answers]
                continue
            parts[key] = ToWrite(self._laid_out(rows).rows, slot if adds[slot] else None, answers)
        scaling = 1.0 if learner.run.adapter is None else learner.adapter.scaling
        written = write_answers(
            self._bases[base], list(parts.values()), factors, scaling, journal=self._journal
        )
        for (key, part), judged in zip(parts.items(), written, strict=True):
            found[key] = judged
            if part.slot is None:
                frozen[wanted[key], part.answers] = judged
        return found

    def _queue(self, rows: "RowSet", segments: Sequence[Segment]) -> PendingScores:
        if segments:
            return self._run(rows, segments)
        frozen = self._frozen.of(self._bases[rows.base], self._rows[rows.base]).scores
        if rows not in frozen:
            frozen[rows] = self._run(rows, segments)
        return frozen[rows]

    def _run(self, rows: "RowSet", segments: Sequence[Segment]) -> PendingScores:
        base = rows.base
        while True:
            batches = self._laid_out(rows)
            try:
                with self._hooks[base].active(segments):
                    return queue_scores(self._bases[base], batches)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or batches.is_finest:
                    raise
            self._max_tokens //= 2
            self._batches.clear()
            release_memory()

    def _hash(self, learner: Learner, base: str, task: str, split: str) -> str:
        """The hash of the rows that are scored, made once: it takes a fifth of a second for 12,000."""
        data = learner.run.data
        rows, answers = RowSet(base, task, split, data.eval_size), data.answers.get(task)
        if (rows, answers) not in self._hashes:
            judging = None if answers is None else answers.canonical_json()
            self._hashes[rows, answers] = eval_set_hash(self._laid_out(rows).rows, judging)
        return self._hashes[rows, answers]

    def _laid_out(self, rows: "RowSet") -> ScoringBatches:
        if rows not in self._batches:
            chosen = evaluation_rows(self._rows[rows.base].rows(rows.task, rows.split), rows.size)
            self._batches[rows] = scoring_batches(chosen, self._bases[rows.base], max_tokens=self._max_tokens)
        return self._batches[rows]


def _adapter(learner: Learner, factors: Factors, task: str, adding: Sequence[bool]) -> list[Segment]:
    """The task's adapter; nothing where it adds nothing."""
    if learner.run.adapter is None or not adding[slot := learner.tasks.index(task)]:
        return []
    return [Segment(1, select_slots(factors, [slot]), learner.adapter.scaling)]


def _adding_slots(learner: Learner, factors: Factors) -> list[bool]:
    """Whether each task's adapter changes a forward: with every B 0 and every A finite it adds zeros.

    Waits for the device, once for all tasks.
    """
    if learner.run.adapter is None:
        return [False] * len(learner.tasks)
    changes = [
        b_SLOR.flatten(1).any(1) | ~torch.isfinite(a_SLRI.flatten(1).sum(1))
        for a_SLRI, b_SLOR in factors.values()
    ]
    found: list[bool] = torch.stack(changes).any(0).tolist()
    return found


@dataclass(frozen=True)
class RowSet:
    """Rows of a task and split on one base, at most `size`."""

    base: str
    task: str
    split: str
    size: int


@dataclass(frozen=True)
class Kept:
    """Of one base on one table of rows: scores, and answers that were written, by how they were judged."""

    scores: dict[RowSet, PendingScores] = field(default_factory=dict)
    answers: dict[tuple[RowSet, AnswerConfig], list[Judged]] = field(default_factory=dict)


class FrozenScores:
    """By base and rows, kept as long as both are in memory. A base's weights never change."""

    def __init__(self) -> None:
        self._kept: MutableMapping[nn.Module, MutableMapping[RowTable, Kept]] = WeakKeyDictionary()

    def of(self, base: Base, rows: RowTable) -> Kept:
        """What is kept of this base on these rows; whoever computes more adds it there."""
        by_rows = self._kept.setdefault(base.model, WeakKeyDictionary())
        return by_rows.setdefault(rows, Kept())
