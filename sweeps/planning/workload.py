"""How much a run trains, scores and writes: tokens and forwards, from its config and a sample of rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import cycle, groupby, islice
from math import ceil
from statistics import fmean
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from portal.bases.family import base_sites, base_takes_branches
from portal.config import RunConfig
from portal.data.sampling import balanced_sizes, num_batches
from portal.data.suites import Suite
from portal.data.token_rows import TokenRow, encode_examples
from portal.evaluate.loglikelihood import MAX_TOKENS
from portal.forward.microbatch import (
    MAX_FORWARD_TOKENS,
    LaunchCost,
    SlotRows,
    group_by_length,
    plan_microbatches,
    tokens_and_launches,
)
from portal.forward.shared_prefix import choice_length, packed_length
from portal.generation.continuous import num_joining
from portal.generation.generate import rows_at_once
from portal.learners.kept import EVALUATED_SPLITS
from portal.learners.schedule import TrainingSchedule
from portal.tasks.example import Example
from portal.train_config import TrainConfig


@dataclass(frozen=True)
class Layout:
    """Forwards of a set, the tokens of its rows, and these with their padding."""

    forwards: int
    tokens: int
    padded_tokens: int


@dataclass(frozen=True)
class ScoredSet:
    """So many questions, scored in so many evaluations; `sizes` are (longest row, rows) of sampled ones."""

    questions: int
    times: float
    sizes: tuple[tuple[int, int], ...]

    def layout(self, forward_cost: float) -> Layout:
        """What one evaluation takes where a forward costs so many tokens: the sample is repeated."""
        return _layout(self.questions, self.sizes, forward_cost)


@lru_cache(maxsize=2**16)
def _layout(questions: int, sizes: tuple[tuple[int, int], ...], forward_cost: float) -> Layout:
    every = [sizes[index % len(sizes)] for index in range(questions)]
    items = [(size, *size) for size in every]
    forwards = padded = 0
    for length, group in group_by_length(items, forward_cost=forward_cost, max_tokens=MAX_TOKENS):
        most = max(1, MAX_TOKENS // (length * max(rows for _, rows in group)))
        forwards += ceil(len(group) / most)
        padded += length * sum(rows for _, rows in group)
    return Layout(forwards, sum(longest * rows for longest, rows in every), padded)


@dataclass(frozen=True)
class Writing:
    """Tokens of prompts that are read, tokens that are written, and the forwards that do either."""

    read: float
    written: float
    forwards: float

    @staticmethod
    def of(rows: Sequence[tuple[int, int]], positions: int, *, is_continuous: bool) -> "Writing":
        """Of rows with so many tokens in prompt and answer, of which the longest may have `positions`.

        `is_continuous` says whether rows of unlike lengths share a batch, and others join it as rows end.
        """
        count = _continuous_forwards if is_continuous else _forwards_by_length
        forwards = count(rows, rows_at_once(positions))
        return Writing(sum(prompt for prompt, _ in rows), sum(answer for _, answer in rows), forwards)


def _continuous_forwards(rows: Sequence[tuple[int, int]], places: int) -> int:
    """Forwards until all rows have ended, of which so many are at work at once.

    Those with the longest prompts start first; where some have ended, others join, in a forward that reads
    their prompts and gives each its first token.
    """
    waiting = [answer for _, answer in sorted(rows, key=lambda row: row[0])]
    live: list[int] = []  # tokens that each row at work has yet to write
    forwards = 0
    while live or waiting:
        if joins := num_joining(len(live), len(waiting), places):
            live += [answer - 1 for answer in (waiting.pop() for _ in range(joins)) if answer > 1]
            forwards += 1
        else:
            steps = min(live)
            live = [left - steps for left in live if left > steps]
            forwards += steps
    return forwards


def _forwards_by_length(rows: Sequence[tuple[int, int]], places: int) -> int:
    """The same of batches of prompts of one length, one after another."""
    forwards = 0
    for _, same in groupby(sorted(rows, key=lambda row: row[0]), key=lambda row: row[0]):
        answers = [answer for _, answer in same]
        forwards += sum(max(answers[start : start + places]) for start in range(0, len(answers), places))
    return forwards


_TRAIN_COST, _SCORE_COST = 2.0, 1.0  # passes over the frozen base: a step goes forwards and backwards
_CHARS_PER_TOKEN = 4.0
_SAMPLE, _MOST_PER_TASK, _LEAST_PER_TASK = 2000, 50, 5
"""Rows that stand for all: about so many of all tasks, and of each at most and at least."""


@dataclass(frozen=True)
class Work:
    """A run's training and scoring, counted. `rows_per_step` are those of all its tasks together."""

    steps: int
    rows_per_step: float
    tasks: int
    row_tokens: float
    answer_tokens: float  # of a row that is trained on
    scored_tokens: float
    scored_answer_share: float  # of the scored tokens: those whose logits are read
    scored_rows: float
    scored_sets: tuple[ScoredSet, ...] = ()  # of a task and split each, on the first base
    read_tokens: float = 0.0  # of prompts whose answers are written
    written_tokens: float = 0.0
    writing_forwards: float = 0.0  # that read prompts, or write a token of every row of a batch
    lengths: tuple[tuple[int, ...], ...] = ()  # tokens of sampled rows to train on, by task


def scoring_only(work: Work, sets: Sequence[Sequence[TokenRow]], *, in_one_row: bool) -> Work:
    """The same work with nothing but one evaluation of these sets of rows, whose tokens are counted.

    `in_one_row` says whether a base reads all choices of a question in one row.
    """
    counted = [_count(rows).scored(in_one_row=in_one_row) for rows in sets]
    tokens = math.fsum(longest * rows for sizes, _ in counted for longest, rows in sizes)
    read = math.fsum(len(sizes) * each for sizes, each in counted)
    return replace(
        work,
        steps=0,
        scored_tokens=tokens,
        scored_answer_share=read / tokens,
        scored_rows=sum(map(len, sets)),
        scored_sets=tuple(ScoredSet(len(sizes), 1.0, sizes) for sizes, _ in counted),
        read_tokens=0.0,
        written_tokens=0.0,
        writing_forwards=0.0,
    )


class WorkloadEstimator:
    """Multiply-adds of a run: weights of the adaptable layers x tokens x passes.

    `tokenizers` are by base: they count the tokens of a sample of rows. Without its own a base's token is
    taken for four characters, as is usual for English and a large vocabulary. ValueError for a row of the
    sample that a tokenizer cannot divide into prompt and answer.
    """

    def __init__(
        self,
        suite: Suite,
        tasks: Sequence[str],
        num_rows: dict[str, int],
        tokenizers: Mapping[str, PreTrainedTokenizerBase] | None = None,
        *,
        max_prompt: int,
    ) -> None:
        self._num_rows = num_rows
        self._num_scored = {
            split: {task: len(suite.examples(task, split)) for task in tasks} for split in EVALUATED_SPLITS
        }
        most = max(_LEAST_PER_TASK, min(_MOST_PER_TASK, _SAMPLE // len(tasks)))
        examples = {task: suite.examples(task, "validation")[:most] for task in tasks}
        self._unknown: _Sample = {task: _guess(own) for task, own in examples.items()}
        counted: dict[str, _Sample] = {}  # bases of a family share their tokenizer
        self._samples = {}
        for base, tokenizer in (tokenizers or {}).items():
            definition = tokenizer.backend_tokenizer.to_str()
            if definition not in counted:
                counted[definition] = _counted(examples, tokenizer, max_prompt)
            self._samples[base] = counted[definition]
        self._weights: dict[str, int] = {}
        self._writings: dict[tuple[object, ...], Writing] = {}
        self._sets: dict[tuple[str, tuple[str, ...], int, _Evaluations], tuple[ScoredSet, ...]] = {}

    def work(self, run: RunConfig) -> Work:
        """How much a run trains and scores on each of its bases."""
        data, train = run.data, run.train
        if train is None:
            return self._work(run, 0, 0.0, _Evaluations(1.0, 1.0, 1.0, 1.0, together=1.0))
        counts = {task: self._num_rows[task] for task in data.trained_tasks}
        sizes = {
            task: count if data.size is None else min(data.size, count) for task, count in counts.items()
        }
        each = self._batch_sizes(run, train)
        batches = {task: num_batches(size, each[task]) for task, size in sizes.items()}
        schedule = TrainingSchedule(train, batches, joint=not run.spec.per_task)
        steps = [schedule.task_steps(task) for task in batches]
        passes = sum(schedule.num_evaluations(task) for task in batches) / len(batches)
        starts_as_base = passes > 1 and not run.spec.teaches
        computed = passes - starts_as_base  # a process computes the frozen base's scores once
        evaluations = _Evaluations(passes, passes, computed, computed, together=computed)
        if train.test_scores == "kept":
            reported = min(2.0, max(1.0, passes - 1))  # the kept one, and the last if it is another
            evaluations = _Evaluations(passes, reported, computed, reported, together=1.0)  # the last
        rows = sum(min(each[task], sizes[task]) * own for task, own in zip(sizes, steps, strict=True))
        rows_per_step = rows / max(steps) / schedule.num_parts
        return self._work(run, max(steps), rows_per_step, evaluations)

    def _batch_sizes(self, run: RunConfig, train: TrainConfig) -> dict[str, int]:
        """Rows of each trained task in a step."""
        tasks = run.data.trained_tasks
        if train.balance == "rows":
            return dict.fromkeys(tasks, train.batch_size)
        sample = self._samples.get(run.bases[0].name, self._unknown)
        return balanced_sizes(train.batch_size, {task: max(1.0, sample[task].answer) for task in tasks})

    def _work(self, run: RunConfig, steps: int, rows_per_step: float, evaluations: "_Evaluations") -> Work:
        validated, tested = (
            sum(min(run.data.eval_size, self._num_scored[split][task]) for task in run.data.tasks)
            for split in EVALUATED_SPLITS
        )
        writing = self._writing(run, evaluations)
        own = [self._samples.get(ref.name, self._unknown) for ref in run.bases]
        sampled = run.data.trained_tasks or run.data.tasks  # a run of other tasks' latents trains none
        rows = [[each[task] for task in sampled] for each in own]
        trained = [task for of_base in rows for task in of_base]
        scored = [
            each[task].scored(in_one_row=base_takes_branches(ref.name))
            for ref, each in zip(run.bases, own, strict=True)
            for task in run.data.tasks
        ]
        packed = fmean(fmean(longest * rows for longest, rows in sizes) for sizes, _ in scored)
        return Work(
            steps=steps,
            rows_per_step=rows_per_step,
            tasks=len(run.data.tasks),
            row_tokens=fmean(fmean(task.lengths) for task in trained),
            answer_tokens=max(1.0, fmean(task.answer for task in trained)),
            scored_tokens=packed
            * (evaluations.validation_computed * validated + evaluations.test_computed * tested),
            scored_answer_share=fmean(read for _, read in scored) / packed,
            scored_rows=evaluations.validation * validated + evaluations.test * tested,
            scored_sets=self._scored_sets(run.bases[0].name, run.data.tasks, run.data.eval_size, evaluations),
            lengths=tuple(task.lengths for task in rows[0]),
            read_tokens=writing.read,
            written_tokens=writing.written,
            writing_forwards=writing.forwards,
        )

    def _scored_sets(
        self, base: str, tasks: tuple[str, ...], eval_size: int, evaluations: "_Evaluations"
    ) -> tuple[ScoredSet, ...]:
        """Those of every task and split; the same ones for all runs that are scored alike."""
        key = base, tasks, eval_size, evaluations
        if key not in self._sets:
            sample, in_one_row = self._samples.get(base, self._unknown), base_takes_branches(base)
            sizes = {task: sample[task].scored(in_one_row=in_one_row)[0] for task in tasks}
            computed = (evaluations.validation_computed, evaluations.test_computed)
            self._sets[key] = tuple(
                ScoredSet(min(eval_size, self._num_scored[split][task]), times, sizes[task])
                for split, times in zip(EVALUATED_SPLITS, computed, strict=True)
                for task in tasks
            )
        return self._sets[key]

    def _writing(self, run: RunConfig, evaluations: "_Evaluations") -> Writing:
        """What is read and written in all evaluations, with answers as long as right ones; splits that are
        evaluated together are written together.
        """
        validation, test = EVALUATED_SPLITS
        times: dict[tuple[str, ...], float] = {
            EVALUATED_SPLITS: evaluations.together,
            (validation,): evaluations.validation_computed - evaluations.together,
            (test,): evaluations.test_computed - evaluations.together,
        }
        parts = [(count, self._written(run, splits)) for splits, count in times.items() if count > 0]
        return Writing(
            math.fsum(count * each.read for count, each in parts),
            math.fsum(count * each.written for count, each in parts),
            math.fsum(count * each.forwards for count, each in parts),
        )

    def _written(self, run: RunConfig, splits: tuple[str, ...]) -> Writing:
        """What one evaluation of these splits reads and writes, of all tasks at once; the same for all runs
        that write alike.
        """
        base = run.bases[0].name
        key = base, tuple(run.data.answers.items()), run.data.eval_size, splits
        if key not in self._writings:
            sample = self._samples.get(base, self._unknown)
            tokens = {task: sample[task].written for task in run.data.answers}
            rows = [
                row
                for split in splits
                for task, own in tokens.items()
                for row in islice(cycle(own), min(run.data.eval_size, self._num_scored[split][task]))
            ]
            most = (
                max(prompt for prompt, _ in own) + run.data.answers[task].max_new_tokens
                for task, own in tokens.items()
            )
            is_continuous = base_takes_branches(base)
            self._writings[key] = Writing.of(rows, max(most, default=1), is_continuous=is_continuous)
        return self._writings[key]

    def cost(self, run: RunConfig, work: Work) -> float:
        """Multiply-adds of the frozen base in a run; the order of packs depends on them."""
        trained = work.steps * work.rows_per_step * work.row_tokens
        tokens = _TRAIN_COST * trained + _SCORE_COST * work.scored_tokens
        return tokens * sum(self._num_weights(ref.name) for ref in run.bases)

    def _num_weights(self, base: str) -> int:
        if base not in self._weights:
            self._weights[base] = sum(site.d_in * site.d_out for site in base_sites(base))
        return self._weights[base]


@dataclass(frozen=True)
class _Evaluations:
    """How often a run's validation and test rows are scored, and how often the scores are computed for it."""

    validation: float
    test: float
    validation_computed: float
    test_computed: float
    together: float
    """Of the computed ones, those of both splits at once."""


@dataclass(frozen=True)
class _TaskTokens:
    """Tokens of a task's sampled rows: of each to train on; (longest row, rows) of each to score, in one row
    or with a row for each choice; means of its answer, and of the tokens whose logits its scores need;
    (prompt, answer) of each whose answer is written.
    """

    lengths: tuple[int, ...]
    answer: float
    packed: tuple[tuple[int, int], ...]
    apart: tuple[tuple[int, int], ...]
    read_packed: float
    read_apart: float
    written: tuple[tuple[int, int], ...]

    def scored(self, *, in_one_row: bool) -> tuple[tuple[tuple[int, int], ...], float]:
        """(longest row, rows) of each, and the mean of tokens whose logits are needed, of a base's way."""
        return (self.packed, self.read_packed) if in_one_row else (self.apart, self.read_apart)


_Sample = Mapping[str, _TaskTokens]
"""The tokens of sampled rows, by task."""


def _counted(
    examples: Mapping[str, Sequence[Example]], tokenizer: PreTrainedTokenizerBase, max_prompt: int
) -> _Sample:
    """What the tokenizer makes of them."""
    texts = ((each, "validation") for own in examples.values() for each in own)
    rows = iter(encode_examples(texts, tokenizer, max_prompt=max_prompt))
    return {task: _count(list(islice(rows, len(own)))) for task, own in examples.items()}


def _guess(examples: Sequence[Example]) -> _TaskTokens:
    """What they would be at four characters per token."""
    choices = [[len(choice) / _CHARS_PER_TOKEN for choice in each.choices] for each in examples]
    answers = [len(each.choices[each.gold]) / _CHARS_PER_TOKEN for each in examples]
    prompts = [len(each.prompt) / _CHARS_PER_TOKEN for each in examples]
    lengths = (max(2, round(sum(parts))) for parts in zip(prompts, answers, strict=True))
    offered = list(zip(prompts, choices, strict=True))
    packed = tuple((max(2, round(prompt + sum(each))), 1) for prompt, each in offered)
    apart = tuple((max(2, round(prompt + max(each))), len(each)) for prompt, each in offered)
    read = fmean(1 + sum(max(0.0, choice - 1) for choice in each) for each in choices)
    written = tuple(
        (max(1, round(prompt)), max(1, round(own))) for prompt, own in zip(prompts, answers, strict=True)
    )
    return _TaskTokens(tuple(lengths), fmean(answers), packed, apart, read, fmean(map(sum, choices)), written)


def _count(rows: Sequence[TokenRow]) -> _TaskTokens:
    return _TaskTokens(
        tuple(len(row.gold_ids) for row in rows),
        fmean(row.scored_tokens[row.gold] for row in rows),
        tuple((packed_length(row), 1) for row in rows),
        tuple((choice_length(row), len(row.choices)) for row in rows),
        fmean(1 + sum(row.scored_tokens) - len(row.choices) for row in rows),  # all begin at the prompt's end
        fmean(sum(row.scored_tokens) for row in rows),
        tuple((len(row.prompt), row.scored_tokens[row.gold]) for row in rows),
    )


SAMPLED_STEPS = 4


@dataclass(frozen=True)
class PlannedStep:
    """Means of a step: forwards, real and padded tokens, and launches as tokens that take as long."""

    forwards: float
    real_tokens: float
    padded_tokens: float
    launches: float

    @property
    def padding(self) -> float:
        """Padded tokens per real one."""
        return self.padded_tokens / self.real_tokens


class _Drawn(NamedTuple):
    """What sampled steps of a learner depend on, of its `Work`."""

    rows_per_step: float
    tasks: int
    row_tokens: float
    lengths: tuple[tuple[int, ...], ...]


def sample_step(
    works: Sequence[Work], cost: LaunchCost, *, on_gpu: bool, max_tokens: int = MAX_FORWARD_TOKENS
) -> PlannedStep:
    """The mean of some sampled steps of a pack with this work, where forwards have such launch cost.

    `max_tokens` limits a forward's padded tokens.
    """
    drawn = [_Drawn(work.rows_per_step, work.tasks, work.row_tokens, work.lengths) for work in works]
    return _sample_once(tuple(drawn), cost, on_gpu=on_gpu, max_tokens=max_tokens)


@lru_cache(maxsize=4096)
def _sample_once(
    learners: tuple[_Drawn, ...], cost: LaunchCost, *, on_gpu: bool, max_tokens: int
) -> PlannedStep:
    """The same; a plan asks again and again for a run that steps alone."""
    draw = np.random.default_rng(0)
    steps = [_slots(learners, draw) for _ in range(SAMPLED_STEPS)]
    costs = [cost] * len(learners)
    plans = [plan_microbatches(slots, costs=costs, max_tokens=max_tokens, together=on_gpu) for slots in steps]
    counts = [tokens_and_launches(plan, cost) for plan in plans]
    return PlannedStep(
        forwards=fmean(len(plan) for plan in plans),
        real_tokens=fmean(sum(slot.num_tokens for slot in slots) for slots in steps),
        padded_tokens=fmean(padded for padded, _ in counts),
        launches=fmean(launches for _, launches in counts),
    )


def _slots(learners: Sequence[_Drawn], draw: np.random.Generator) -> list[SlotRows]:
    slots = []
    for owner, drawn in enumerate(learners):
        mean = (round(drawn.row_tokens),)
        each = max(1, round(drawn.rows_per_step / (len(drawn.lengths) or drawn.tasks)))
        for slot in range(max(1, round(drawn.rows_per_step / each))):
            lengths = drawn.lengths[slot % len(drawn.lengths)] if drawn.lengths else mean
            rows = tuple(_row(int(length)) for length in draw.choice(lengths, each))
            slots.append(SlotRows(owner, slot, rows))
    return slots


@lru_cache(maxsize=4096)
def _row(length: int) -> TokenRow:
    """A row of so many tokens, of which the planner reads nothing but their number."""
    prompt = (0,) * max(1, length - 1)
    one = (1,)
    return TokenRow("", "", "train", "", prompt, ((0,),), 0, one, one, one, (0,), 0)
