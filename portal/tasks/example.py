"""`Example`: one question in text with its choices or a written answer, the form every task is brought to."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from portal.messages import counted

SPLITS = ("train", "validation", "test")
WITHOUT_ROWS = "no rows"
"""The name of the suite of a task that is only described."""


@dataclass(frozen=True)
class Written:
    """How a written answer is asked for and compared: with right answers, of which the first is trained on.

    `conversation` is the JSON text of the messages that precede it, for a base's chat template, as
    `{"messages": [...], "tools": [...]}`; None where the prompt is the text that a base reads.
    """

    references: tuple[str, ...]
    conversation: str | None = None


@dataclass(frozen=True)
class Example:
    """One question with its answer choices, or with a written answer.

    `choices` carry their own leading space. `cluster` groups near-duplicates (rows that share a passage or a
    source), the unit of resampling in confidence intervals. Where choices are judged by what follows them
    (a shared ending), `contexts` holds what precedes each, in place of the one `prompt`, which is their
    common start. With `written` the one choice is the answer to train on. Raises ValueError, naming task and
    example, for empty or duplicate choices, fewer than two of them, contexts that do not match them, a gold
    index out of range, or no or empty right answers.
    """

    task: str
    id: str
    prompt: str
    choices: tuple[str, ...]
    gold: int
    cluster: str
    contexts: tuple[str, ...] | None = None
    written: Written | None = None

    def __post_init__(self) -> None:
        where = f"task {self.task!r}, example {self.id!r}"
        if not self.prompt:
            raise ValueError(f"{where}: the prompt is empty")
        if self.written is not None:
            self._check_written(where, self.written)
        elif len(self.choices) < 2:
            raise ValueError(f"{where}: {counted(len(self.choices), 'choice')}, at least 2 are needed")
        if any(not choice.strip() for choice in self.choices):
            raise ValueError(f"{where}: a choice is empty")
        if self.contexts is not None and (
            len(self.contexts) != len(self.choices)
            or not all(context.startswith(self.prompt) for context in self.contexts)
        ):
            raise ValueError(f"{where}: its contexts do not start with its prompt, one for each choice")
        if len(set(zip(self.contexts or self.choices, self.choices, strict=True))) != len(self.choices):
            raise ValueError(f"{where}: two choices are equal: {self.choices}")
        if not 0 <= self.gold < len(self.choices):
            raise ValueError(f"{where}: gold index {self.gold} is outside 0..{len(self.choices) - 1}")

    def _check_written(self, where: str, written: Written) -> None:
        if not written.references or any(not reference.strip() for reference in written.references):
            raise ValueError(f"{where}: a right answer is empty, or there is none")
        if len(self.choices) != 1 or self.contexts is not None:
            raise ValueError(f"{where}: a written answer is the one choice after one prompt")

    @property
    def values(self) -> tuple[Any, ...]:
        """All fields in their order: what a hash of examples is made of."""
        own = (self.task, self.id, self.prompt, self.choices, self.gold, self.cluster, self.contexts)
        if self.written is None:
            return own
        return (*own, self.written.references, self.written.conversation)


def shared_start(sequences: Sequence[Sequence[Any]]) -> int:
    """How many leading items (characters, tokens) all the sequences have in common."""
    return sum(1 for _ in takewhile(lambda items: len(set(items)) == 1, zip(*sequences, strict=False)))
