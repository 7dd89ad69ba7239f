"""`TrainingSchedule`: how many steps a run takes, where its epochs end, and what is evaluated when.

Pure numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

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
