"""Tasks about a passage: everything that is asked stands in the prompt."""

import random

from portal.mini.lexicon import DEEDS, NUMBERS, PORTABLE
from portal.mini.question import Question, names_of
from portal.mini.scenes import draw_scene

_NO_YES = ("no", "yes")
_ENTAILMENT = ("True", "False", "Neither")
_VERDICTS = {"True": "right", "False": "wrong", "Neither": "open"}


def draw_passage_yesno(rng: random.Random, split: str, index: int) -> Question:
    """Whether a claim holds in a passage of three facts; a false one has a value of no fact."""
    answer = _NO_YES[index % 2]
    scene = draw_scene(rng, names_of(split), 3)
    claim = scene.draw_claim(rng, {"yes": "right", "no": "wrong"}[answer])
    prompt = f"{scene.passage}\nIs it so that {claim.text}?\nReply:"
    return Question(prompt, _NO_YES, answer, scene.passage, is_ordered=True)


def draw_entailment(rng: random.Random, split: str, index: int) -> Question:
    """Whether two facts make a claim true, false, or leave it open."""
    answer = _ENTAILMENT[index % 3]
    scene = draw_scene(rng, names_of(split), 2)
    claim = scene.draw_claim(rng, _VERDICTS[answer])
    prompt = f"{scene.passage}\n{claim.sentence[:-1]}: True, False, Neither?"
    return Question(prompt, _ENTAILMENT, answer, scene.passage, is_ordered=True)


def draw_time_order(rng: random.Random, split: str, index: int) -> Question:
    """Which of two deeds, told with before or after, came first or last."""
    name = rng.choice(names_of(split))
    early, late = rng.sample(DEEDS, 2)
    told = rng.choice(
        (
            f"{name} {early} before {name} {late}.",
            f"{name} {late} after {name} {early}.",
            f"Before {name} {late}, {name} {early}.",
            f"After {name} {early}, {name} {late}.",
        )
    )
    word, answer = rng.choice((("First", early), ("Last", late)))
    return Question(f"{told} {word} =", (early, late), answer, f"{name}-{'-'.join(sorted((early, late)))}")


def draw_leftover(rng: random.Random, split: str, index: int) -> Question:
    """What of four things is not among three of them."""
    things = rng.sample(PORTABLE, 4)
    left = rng.choice(things)
    taken = [thing for thing in things if thing != left]
    rng.shuffle(taken)
    prompt = f"Shelf: {', '.join(things)}. Minus: {', '.join(taken)}. Equals:"
    return Question(prompt, tuple(things), left, "-".join(sorted(things)))


def draw_counting(rng: random.Random, split: str, index: int) -> Question:
    """How many things, two to five, are in a bag."""
    count = 2 + index % 4
    things = rng.sample(PORTABLE, count)
    prompt = f"Bag: {', '.join(things)}. Size ="
    return Question(prompt, NUMBERS[1:], NUMBERS[count - 1], "-".join(sorted(things)), is_ordered=True)
