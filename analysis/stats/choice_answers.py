"""`ChoiceAnswers`: what runs answered to rows with choices, row by row.

Shapes: M rows of all runs, K choices of all these rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.stats.answers import chosen_rows, normalised_scores, right_share, run_ranges
from analysis.stats.result_table import Run


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
