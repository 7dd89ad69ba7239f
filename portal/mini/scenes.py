"""`Scene`: things that happen in one text only, so that whoever reads on must read back."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from portal.mini.lexicon import COLOURS, PLACES, PORTABLE
from portal.mini.world import World

RELATIONS = ("has", "in", "colour")
VERDICTS = ("right", "wrong", "open")


@dataclass(frozen=True)
class Claim:
    """A subject and a value under one relation: who has what, what is where, what has which colour."""

    relation: str
    subject: str
    value: str

    @property
    def text(self) -> str:
        """The claim as a clause without a capital or a stop."""
        if self.relation == "has":
            return f"{self.subject} has the {self.value}"
        if self.relation == "in":
            return f"the {self.subject} is in the {self.value}"
        return f"the {self.subject} is {self.value}"

    @property
    def sentence(self) -> str:
        return self.text[0].upper() + self.text[1:] + "."


@dataclass(frozen=True)
class Scene:
    """A few facts of one relation, and what they leave out: a subject and a value that no fact has."""

    facts: tuple[Claim, ...]
    new_subject: str
    new_value: str

    @property
    def passage(self) -> str:
        return " ".join(fact.sentence for fact in self.facts)

    def draw_claim(self, rng: random.Random, verdict: str) -> Claim:
        """A claim that is "right"; "wrong", with the new value; or "open", about the new subject."""
        fact = rng.choice(self.facts)
        if verdict == "wrong":
            return replace(fact, value=self.new_value)
        return replace(fact, subject=self.new_subject) if verdict == "open" else fact


def draw_scene(rng: random.Random, people: Sequence[str], num_facts: int) -> Scene:
    """A scene of that many facts, no two with the same subject or value."""
    relation = rng.choice(RELATIONS)
    subjects = people if relation == "has" else PORTABLE
    values = {"has": PORTABLE, "in": PLACES, "colour": COLOURS}[relation]
    *told_subjects, new_subject = rng.sample(subjects, num_facts + 1)
    *told_values, new_value = rng.sample(values, num_facts + 1)
    facts = tuple(Claim(relation, *pair) for pair in zip(told_subjects, told_values, strict=True))
    return Scene(facts, new_subject, new_value)


def judge_scene(rng: random.Random, world: World) -> str:
    """A scene about which claims are made; each is called right, wrong or a guess."""
    names = [person.name for person in world.people]
    scene = draw_scene(rng, names, rng.choice((1, 2, 2, 3)))
    judged = [_judge_claim(rng, scene, rng.choice(names)) for _ in range(rng.randint(2, 3))]
    return " ".join([scene.passage, *judged])


def _judge_claim(rng: random.Random, scene: Scene, speaker: str) -> str:
    verdict = rng.choice(VERDICTS)
    claim = scene.draw_claim(rng, verdict)
    if rng.random() < 0.6:
        word = {"right": "right", "wrong": "wrong", "open": "unknown"}[verdict]
        return f'"{claim.sentence[:-1]}" is {word}.'
    ending = {"right": "was right", "wrong": "was wrong", "open": "could only guess"}[verdict]
    return f"{speaker} said that {claim.text}. {speaker} {ending}."
