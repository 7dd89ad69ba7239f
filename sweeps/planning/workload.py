"""How much a run trains and scores, counted from its config and a sample of its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from portal.bases.base import base_sites
from portal.config import RunConfig
from portal.data.sampling import num_batches
from portal.data.suite import Suite
from portal.learners.schedule import TrainingSchedule
from portal.tasks.example import SPLITS, Example

_TRAIN_COST, _SCORE_COST = 2.0, 1.0  # passes over the frozen base: a step goes forwards and backwards
_CHARS_PER_TOKEN = 4.0
_SAMPLE = 50
"""Rows per task that stand for all of it."""


@dataclass(frozen=True)
class Work:
    """A run's training and scoring, counted. `rows_per_step` are those of all its tasks together."""

    steps: int
    rows_per_step: float
    tasks: int
    row_tokens: float
    answer_tokens: float  # of a row that is trained on
    scored_tokens: float
    scored_answer_share: float  # of the scored tokens
    scored_rows: float
    lengths: tuple[tuple[int, ...], ...] = ()  # tokens of sampled rows to train on, by task


class WorkloadEstimator:
    """Multiply-adds of a run: weights of the adaptable layers x tokens x passes.

    `tokenizers` are by base. Without its own a base's token is taken for four characters, as is usual for
    English and a large vocabulary.
    """

    def __init__(
        self,
        suite: Suite,
        tasks: Sequence[str],
        num_rows: dict[str, int],
        tokenizers: Mapping[str, PreTrainedTokenizerBase] | None = None,
    ) -> None:
        self._num_rows = num_rows
        self._num_scored = {
            task: [len(suite.examples(task, split)) for split in SPLITS if split != "train"] for task in tasks
        }
        by_task = {task: suite.examples(task, "validation")[:_SAMPLE] for task in tasks}
        sample = [example for examples in by_task.values() for example in examples]
        self._chars_per_token = {
            base: _chars_per_token(sample, tokenizer) for base, tokenizer in (tokenizers or {}).items()
        }
        prompts = sum(len(example.prompt) for example in sample)
        choices = sum(len(choice) for example in sample for choice in example.choices)
        answers = sum(len(example.choices[example.gold]) for example in sample)
        self._scored_chars = (prompts + choices) / len(sample)  # of a row with all its choices
        self._row_chars = (prompts + answers) / len(sample)  # of one to train on
        self._answer_chars = answers / len(sample)
        self._answer_share = choices / (prompts + choices)
        self._weights: dict[str, int] = {}
        self._lengths = {
            task: [len(each.prompt) + len(each.choices[each.gold]) for each in examples]
            for task, examples in by_task.items()
        }

    def work(self, run: RunConfig) -> Work:
        """How much a run trains and scores on each of its bases."""
        data, train = run.data, run.train
        scored = sum(min(data.eval_size, count) for counts in self._num_scored.values() for count in counts)
        if train is None:
            return self._work(run, 0, 0.0, scored)
        counts = {task: self._num_rows[task] for task in data.trained_tasks}
        sizes = {
            task: count if data.size is None else min(data.size, count) for task, count in counts.items()
        }
        batches = {task: num_batches(size, train.batch_size) for task, size in sizes.items()}
        schedule = TrainingSchedule(train, batches, joint=not run.spec.per_task)
        steps = [schedule.task_steps(task) for task in batches]
        passes = sum(schedule.num_evaluations(task) for task in batches) / len(batches)
        rows = sum(min(train.batch_size, size) * own for size, own in zip(sizes.values(), steps, strict=True))
        rows_per_step = rows / max(steps) / schedule.num_parts
        return self._work(run, max(steps), rows_per_step, passes * scored)

    def _work(self, run: RunConfig, steps: int, rows_per_step: float, scored_rows: float) -> Work:
        own = [self._chars_per_token.get(ref.name, _CHARS_PER_TOKEN) for ref in run.bases]
        per_token = sum(own) / len(own)
        return Work(
            steps=steps,
            rows_per_step=rows_per_step,
            tasks=len(run.data.tasks),
            row_tokens=self._row_chars / per_token,
            answer_tokens=max(1.0, self._answer_chars / per_token),
            scored_tokens=self._scored_chars / per_token * scored_rows,
            scored_answer_share=self._answer_share,
            scored_rows=scored_rows,
            lengths=tuple(
                tuple(max(2, round(chars / per_token)) for chars in self._lengths[task])
                for task in run.data.trained_tasks
            ),
        )

    def cost(self, run: RunConfig, work: Work) -> float:
        """Multiply-adds of the frozen base in a run; the order of packs depends on them."""
        trained = work.steps * work.rows_per_step * work.row_tokens
        tokens = _TRAIN_COST * trained + _SCORE_COST * work.scored_tokens
        return tokens * sum(self._num_weights(ref.name) for ref in run.bases)

    def _num_weights(self, base: str) -> int:
        if base not in self._weights:
            self._weights[base] = sum(site.d_in * site.d_out for site in base_sites(base))
        return self._weights[base]


def _chars_per_token(sample: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> float:
    texts = [text for example in sample for text in (example.prompt, *example.choices) if text]
    tokens = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return sum(map(len, texts)) / sum(map(len, tokens))
