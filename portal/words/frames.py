"""Shapes, answer styles and nonsense markers of the frames that tasks of `words` stand in."""

import random
from functools import cache

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


@cache
def markers(number: int) -> tuple[str, ...]:
    """Different made-up words of six letters, which say nothing about a relation."""
    rng = random.Random("markers of words")
    words: dict[str, None] = {}
    while len(words) < number:
        words["".join(rng.choice(letters) for letters in _PATTERN)] = None
    return tuple(words)
