"""`Frame`: the form that a task gives to the questions of its kind, unlike anything in the corpus."""

import random
from dataclasses import dataclass
from functools import cache

from portal.mini.question import Question

SHAPES = (
    "{s} {m} =",
    "{m}({s}) ->",
    "[{m}] {s}:",
    "{s} | {m} |",
    "? {m} / {s}\n!",
    "{m} <- {s}\n=>",
    "<{m}> {s} </{m}>",
    "{s} ~ {m} ~",
    "# {s}\n{m}:",
    "{m} {m} {s} {m}",
    "* {s} * {m} *",
    "{s}; {m};",
)
"""Prompts: `{s}` is the subject or the short text, `{m}` a marker, a word that says nothing."""
ANSWERS = ("{a}", "it is {a}", "{a}.", "that is {a}", "and {a}", "as {a}")
"""What the choices look like: a space and one of these. The corpus has all of their words."""
NEW_ANSWERS = ("from {a}", "with {a}")
"""Likewise, in tasks whose style of answer no source task has."""
_LETTERS = "bcdfghjklmnpqrstvwxz"


@dataclass(frozen=True)
class Frame:
    """One shape of prompt and of answer, with a marker that no other task has."""

    shape: str
    marker: str
    answer: str
    num_choices: int

    def apply(self, question: Question) -> Question:
        """The bare question in this frame."""
        return Question(
            prompt=self.shape.format(s=question.prompt, m=self.marker),
            choices=tuple(self.answer.format(a=choice) for choice in question.choices),
            answer=self.answer.format(a=question.answer),
            cluster=question.cluster,
        )


@cache
def markers(number: int) -> tuple[str, ...]:
    """Different words of three consonants, which the corpus has not."""
    rng = random.Random("village markers")
    words: dict[str, None] = {}
    while len(words) < number:
        words["".join(rng.choice(_LETTERS) for _ in range(3))] = None
    return tuple(words)
