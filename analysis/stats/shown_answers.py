"""`ShownAnswer`: what a run answered to a test row, with the texts that people need to judge it."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from analysis.stats.choice_answers import ChoiceAnswer, ChoiceAnswers
from analysis.stats.epoch_selection import REPORTED_SPLIT
from analysis.stats.result_table import Run
from portal.results import PREDICTIONS
from portal.run_details import Question

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
