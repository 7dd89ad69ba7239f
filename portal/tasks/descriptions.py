"""`Descriptions`: what people say that a task is about, in several phrasings; some are held out."""

from collections.abc import Sequence
from dataclasses import dataclass

_PHRASINGS = (
    "Given {s}, answer with {w}.",
    "The question names {s}; choose {w}.",
    "Which choice is {w}? The prompt has {s}.",
    "For {s} in the prompt, pick {w}.",
    "Read {s} and find {w}.",
    "State {w}, knowing only {s}.",
    "You see {s}. Say {w}.",
    "The right option is {w}; the prompt shows {s}.",
)
_HELD_OUT = (
    "There is {s} in front of you: recall {w}.",
    "Your job is to tell {w} when {s} is given.",
    "Select {w} from the options for {s}.",
    "The reply to {s} should be {w}.",
)
_NUM_HELD_OUT_WORDINGS = 2


@dataclass(frozen=True)
class Descriptions:
    """Phrasings of one task's description. Those of `held_out` are never trained on."""

    phrasings: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    @property
    def unseen(self) -> tuple[str, ...]:
        """The held-out phrasings, or all where none is held out."""
        return self.held_out or self.phrasings

    def drawn(self, seed: int) -> str:
        """One of the unseen phrasings."""
        return self.unseen[seed % len(self.unseen)]


def describe(shown: str, wordings: Sequence[str], answer: str) -> Descriptions:
    """Eight phrasings and four held-out ones of a task that shows one thing and asks for another.

    `shown` is what the prompt has. `wordings` say what is asked for, the last two in words that only
    held-out phrasings use. `answer` is the form of the choices, with `{a}` for the word that is asked for.
    """
    known, others = wordings[:-_NUM_HELD_OUT_WORDINGS], wordings[-_NUM_HELD_OUT_WORDINGS:]
    form = "" if answer == "{a}" else f" The choices look like this: {answer.format(a='...')}"

    def filled(templates: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
        return tuple(
            template.format(s=shown, w=words[place % len(words)]) + form
            for place, template in enumerate(templates)
        )

    return Descriptions(filled(_PHRASINGS, known), filled(_HELD_OUT, others))
