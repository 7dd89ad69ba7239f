"""How many steps a run takes, what is evaluated when, and which rows each step is trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from statistics import fmean

from portal.config import RunConfig
from portal.data.sampling import balanced_sizes, batch_rows, calibration_rows, num_batches, turn_order
from portal.data.token_rows import RowTable, TokenRow
from portal.train_config import TrainConfig


@dataclass(frozen=True)
class TrainingSchedule:
    """The steps and evaluations of a run; without `train` there are no steps and one evaluation, at epoch 0.

    `batches` are those of one pass over each task's rows. In `joint` training all tasks step together: an
    epoch is a pass over the longest task, shorter ones are recycled. Where they take turns, each step of
    theirs is `num_parts` of the run's. Otherwise each task has epochs of its own.
    """

    train: TrainConfig | None
    batches: Mapping[str, int]
    joint: bool

    @property
    def num_parts(self) -> int:
        """Steps in which every task takes part once."""
        return parts_per_turn(self.train, len(self.batches))

    def rounds_per_epoch(self, task: str) -> int:
        """Steps after which `task` has finished one more epoch."""
        if self.train is None:
            return 1
        return self.train.rounds_per_epoch or (self._longest_pass if self.joint else self.batches[task])

    @cached_property
    def _longest_pass(self) -> int:
        """Steps of one pass over the longest task."""
        return max(self.batches.values()) * self.num_parts

    def num_epochs(self, task: str) -> int:
        """The recipe's epochs, or as many as `min_steps` takes."""
        if self.train is None:
            return 0
        return max(self.train.epochs, -(-self.train.min_steps // self.rounds_per_epoch(task)))

    def task_steps(self, task: str) -> int:
        """Steps in which `task` trains."""
        return self.num_epochs(task) * self.rounds_per_epoch(task)

    @cached_property
    def num_steps(self) -> int:
        """Steps of the task that trains longest."""
        return max((self.task_steps(task) for task in self.batches), default=0)

    def epoch(self, step: int) -> int:
        """Epochs that the longest task has finished after so many steps."""
        return step // max((self.rounds_per_epoch(task) for task in self.batches), default=1)

    def evaluation_due(self, task: str, step: int) -> int | None:
        """The epoch of `task` that is to be evaluated after so many steps, before the next; None: none is."""
        rounds, last = self.rounds_per_epoch(task), self.num_epochs(task)
        epoch, into = divmod(min(step, last * rounds), rounds)
        if epoch == last:
            return epoch
        return epoch if into == 0 and self._is_evaluated(epoch, rounds) else None

    def num_evaluations(self, task: str) -> int:
        """How many epochs of `task` are evaluated, epoch 0 among them."""
        rounds, last = self.rounds_per_epoch(task), self.num_epochs(task)
        if self.train is None or self.train.evaluate == "last_epoch":
            return 1
        if self.train.evaluate_every is None:
            return last + 1
        return sum(self._is_evaluated(epoch, rounds) for epoch in range(last)) + 1

    def _is_evaluated(self, epoch: int, rounds: int) -> bool:
        """Whether an epoch before the last is: with `evaluate_every` where it reaches another multiple."""
        if self.train is None or self.train.evaluate == "last_epoch":
            return False
        every = self.train.evaluate_every
        return every is None or epoch == 0 or epoch * rounds // every > (epoch - 1) * rounds // every


def parts_per_turn(train: TrainConfig | None, num_tasks: int) -> int:
    """In how many parts the tasks that are trained on take turns: 1 where all of them are in every step."""
    each = train.tasks_per_step if train is not None else None
    return 1 if each is None else -(-num_tasks // each)


_MEASURED_ROWS = 256
"""Rows of a task whose answers are measured, where steps are balanced by their tokens."""


class DataOrder:
    """A pure function of the run's config and rows: which rows are trained on at step k.

    `rows` are by base name; the bases' tokenizers differ, their rows are those of the same examples.
    """

    def __init__(self, run: RunConfig, rows: Mapping[str, RowTable]) -> None:
        self._run, self._all_tasks = run, frozenset(run.data.trained_tasks)
        self._bases = [ref.name for ref in run.bases]
        self._rows = {
            (base, task): calibration_rows(rows[base].rows(task, "train"), run.data.size, run.seed or 0)
            for base in self._bases
            for task in run.data.trained_tasks
        }

    @property
    def size(self) -> int | None:
        """Calibration rows per task as the run asks for; where it asks for all, those of the largest task.

        None where it asks for all and none of its tasks gives any.
        """
        if self._run.data.size is not None:
            return self._run.data.size
        return max((len(rows) for rows in self._rows.values()), default=None)

    def num_rows(self, task: str) -> int:
        """The task's calibration rows: none where the run is not trained on it."""
        return len(self._rows.get((self._bases[0], task), ()))

    def first_rows(self, base: str, most: int) -> dict[str, list[TokenRow]]:
        """Every task's calibration rows on `base`, at most so many of them."""
        return {task: list(islice(self._rows[base, task], most)) for task in self._run.data.trained_tasks}

    @cached_property
    def batches(self) -> dict[str, int]:
        """Batches in one pass over each task's calibration rows."""
        base = self._bases[0]
        return {
            task: num_batches(len(self._rows[base, task]), size) for task, size in self._batch_sizes.items()
        }

    @cached_property
    def _num_parts(self) -> int:
        return parts_per_turn(self._run.train, len(self._run.data.trained_tasks))

    def part_at(self, step: int) -> frozenset[str]:
        """The tasks that take part in this step: all of them, or one part of a new seeded order each turn."""
        if self._num_parts == 1:
            return self._all_tasks
        turn, part = divmod(step, self._num_parts)
        tasks = self._run.data.trained_tasks
        order = turn_order(len(tasks), self._run.seed or 0, turn)
        return frozenset(tasks[index] for index in order[part :: self._num_parts])

    def batch(self, base: str, task: str, step: int) -> tuple[TokenRow, ...]:
        """The rows of `task` on `base` at this step; each base sees an order of its own."""
        return batch_rows(
            self._rows[base, task],
            batch_size=self._batch_sizes[task],
            seed=self._run.seed or 0,
            stream=self._bases.index(base),
            step=step // self._num_parts,
        )

    @cached_property
    def _batch_sizes(self) -> dict[str, int]:
        """Rows of each task in a step: by the answer tokens of the first base where these are balanced."""
        tasks, train = self._run.data.trained_tasks, self._run.train
        size = train.batch_size if train is not None else 1
        if train is None or train.balance == "rows":
            return dict.fromkeys(tasks, size)
        rows = self.first_rows(self._bases[0], _MEASURED_ROWS)
        tokens = {task: fmean(row.scored_tokens[row.gold] for row in own) for task, own in rows.items()}
        return balanced_sizes(size, tokens)
