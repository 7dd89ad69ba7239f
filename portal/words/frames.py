"""`Frame`: the form that a task gives to the questions of its relation, with a marker that says nothing."""

import random
from dataclasses import dataclass
from functools import cache

from portal.mini.question import Question

SHAPES = (
    "{s} {m} =",
    "{m}({s}) ->",
    "[{m}] {s}:",
    "{s} | {m} |",
    "{m} <- {s}\n=>",
    "# {s}\n{m}:",
    "<{m}> {s} </{m}>",
    "* {s} * {m} *",
)
"""Prompts: `{s}` is the subject, `{m}` the task's marker."""
ANSWERS = ("{a}", "= {a}", "{a} .", "so {a}", "> {a}", "it is {a}")
"""What the choices look like: a space and one of these."""
_CONSONANTS, _VOWELS = "klmnrtvz", "aeou"
_PATTERN = (_CONSONANTS, _VOWELS, _CONSONANTS, _CONSONANTS, _VOWELS, _CONSONANTS)


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
    """Different made-up words of six letters, which say nothing about a relation."""
    rng = random.Random("markers of words")
    words: dict[str, None] = {}
    while len(words) < number:
        words["".join(rng.choice(letters) for letters in _PATTERN)] = None
    return tuple(words)
