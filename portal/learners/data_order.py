"""`DataOrder`: the calibration rows of a run, and which of them each of its steps takes."""

from collections.abc import Mapping
from functools import cached_property
from itertools import islice
from statistics import fmean

from portal.config import RunConfig
from portal.data.sampling import balanced_sizes, batch_rows, calibration_rows, num_batches, turn_order
from portal.data.token_rows import RowTable, TokenRow
from portal.learners.schedule import parts_per_turn

_MEASURED_ROWS = 256
"""Rows of a task whose answers are measured, where steps are balanced by their tokens."""


class DataOrder:
    """A pure function of the run's config and rows: which rows are trained on at step k.

    `rows` are by base name; the bases' tokenizers differ, their rows are those of the same examples.
    """

    def __init__(self, run: RunConfig, rows: Mapping[str, RowTable]) -> None:
        self._run = run
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

    @cached_property
    def _all_tasks(self) -> frozenset[str]:
        return frozenset(self._run.data.trained_tasks)

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
