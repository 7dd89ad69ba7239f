"""The plain-text corpus of the small world: facts, scenes and stories, drawn without end from one seed.

None of its documents has the form of a task. A fact has many wordings, so that any form can recall it.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tools.worlds.mini.world import (
    CHAINS,
    COLOURS,
    DEEDS,
    KINDS,
    NUMBERS,
    PLACES,
    PORTABLE,
    Person,
    World,
    build_world,
)

SEX = {"he": "man", "she": "woman"}

WORDINGS: dict[str, tuple[str, ...]] = {
    "home": (
        "{n} lives in {home}.",
        "{n} has a house in {home}.",
        "The home of {n} is in {home}.",
        "{n} comes back to {home} every night.",
        "{n}, who lives in {home}, is a {sex}.",
        "Where does {n} live? {n} lives in {home}.",
        "In {home} stands the house of {n}.",
    ),
    "birthplace": (
        "{n} was born in {birthplace}.",
        "{n} came into the world in {birthplace}.",
        "The birthplace of {n} is {birthplace}.",
        "{n} was a child in {birthplace}.",
        "{n}, who was born in {birthplace}, is a {sex}.",
        "Where was {n} born? {n} was born in {birthplace}.",
        "In {birthplace} was {n} born.",
    ),
    "workplace": (
        "{n} works in {workplace}.",
        "{n} goes to {workplace} for work.",
        "The work of {n} is in {workplace}.",
        "{n} earns money in {workplace}.",
        "{n}, who works in {workplace}, is a {sex}.",
        "Where does {n} work? {n} works in {workplace}.",
        "In {workplace} one finds {n} at work.",
    ),
    "job": (
        "{n} is a {job}.",
        "{n} works as a {job}.",
        "The job of {n} is that of a {job}.",
        "{n} became a {job}.",
        "What is {n}? {n} is a {job}.",
        "A {job} is what {n} is.",
    ),
    "likes": (
        "{n} likes {likes}.",
        "{n} loves to eat {likes}.",
        "The food that {n} likes is {likes}.",
        "{n} is fond of {likes}.",
        "What does {n} like? {n} likes {likes}.",
        "Much {likes} is eaten by {n}.",
    ),
    "hates": (
        "{n} hates {hates}.",
        "{n} never eats {hates}.",
        "The food that {n} hates is {hates}.",
        "{n} cannot stand {hates}.",
        "What does {n} hate? {n} hates {hates}.",
        "No {hates} is eaten by {n}.",
    ),
    "age": (
        "{n} is {age} years old.",
        "{n} has lived for {age} years.",
        "The age of {n} is {age} years.",
        "How old is {n}? {n} is {age} years old.",
    ),
    "sex": ("{n} is a {sex}.", "The {sex} {n} came in.", "{n} is a {sex} like any other."),
    "friend_job": (
        "The best friend of {n} is a {friend_job}.",
        "{n} has a friend who works as a {friend_job}.",
        "The friend of {n} became a {friend_job}.",
        "{n} often visits a friend, a {friend_job}.",
    ),
    "friend_home": (
        "The best friend of {n} lives in {friend_home}.",
        "{n} has a friend who lives in {friend_home}.",
        "The friend of {n} has a house in {friend_home}.",
        "{n} often visits a friend in {friend_home}.",
    ),
}
RELATIONS = tuple(WORDINGS)


def state_fact(rng: random.Random, world: World, person: Person, relation: str) -> str:
    """One sentence with that fact, in a drawn wording."""
    return _fill(rng.choice(WORDINGS[relation]), world, person)


def tell_person(rng: random.Random, world: World, person: Person) -> str:
    """A short portrait: three to six different facts in any order."""
    relations = rng.sample(RELATIONS, rng.randint(3, 6))
    told = [state_fact(rng, world, person, relation) for relation in relations]
    if rng.random() < 0.3:
        told[1:] = [_with_pronoun(sentence, person) for sentence in told[1:]]
    return " ".join(told)


def compare_ages(rng: random.Random, world: World) -> str:
    """One person beside two others of clearly different ages: who is older, who is younger."""
    anchor = rng.choice(world.people)
    others = [person for person in world.people if world.older_and_younger(anchor, person)]
    told = [_compare_two(rng, world, anchor, other) for other in rng.sample(others, 2)]
    if rng.random() < 0.5:
        told.insert(rng.randrange(3), state_fact(rng, world, anchor, "age"))
    return " ".join(told)


def _compare_two(rng: random.Random, world: World, anchor: Person, other: Person) -> str:
    ordered = world.older_and_younger(anchor, other)
    assert ordered is not None
    old, young = (person.name for person in ordered)
    one, two = (person.name for person in rng.sample((anchor, other), 2))
    wordings = (
        f"{old} is older than {young}.",
        f"{young} is younger than {old}.",
        f"Of {one} and {two}, the older one is {old}.",
        f"Of {one} and {two}, the younger one is {young}.",
        f"Who is older, {one} or {two}? It is {old}.",
        f"Who is younger, {one} or {two}? It is {young}.",
    )
    return rng.choice(wordings)


def _with_pronoun(sentence: str, person: Person) -> str:
    """The sentence with the pronoun for a name that opens it."""
    opening = f"{person.name} "
    return (
        person.pronoun.capitalize() + sentence[len(opening) - 1 :]
        if sentence.startswith(opening)
        else sentence
    )


def _fill(wording: str, world: World, person: Person) -> str:
    friend = world.friend_of(person)
    return wording.format(
        n=person.name,
        sex=SEX[person.pronoun],
        home=person.home,
        birthplace=person.birthplace,
        workplace=person.workplace,
        job=person.job,
        likes=person.likes,
        hates=person.hates,
        age=person.age_word,
        friend_job=friend.job,
        friend_home=friend.home,
    )


_SCENE_RELATIONS = ("has", "in", "colour")
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
    relation = rng.choice(_SCENE_RELATIONS)
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


def join_words(words: list[str], last: str = "and") -> str:
    """`a, b and c`."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]


def with_article(noun: str) -> str:
    """`a cow`, `an owl`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def tell_chain(rng: random.Random, world: World) -> str:
    """A cause, its effect and what followed, told forwards or backwards."""
    name = rng.choice(world.people).name
    cause, middle, effect = (event.format(p=name) for event in rng.choice(CHAINS))
    forwards = (" It led to this: {0}.", " What came of it? {0}.", " So {0}.")
    backwards = (" It came from this: {0}.", " What was behind it? {0}.", " This was since {0}.")
    if rng.random() < 0.5:
        told, joints = (cause, middle, effect), forwards
    else:
        told, joints = (effect, middle, cause), backwards
    start = rng.choice((0, 0, 1))
    return f"{told[start]}." + "".join(rng.choice(joints).format(event) for event in told[start + 1 :])


def tell_pronoun(rng: random.Random, world: World) -> str:
    """A man and a woman meet, one of them does something, and the text says who it was."""
    one, other = rng.sample(world.people, 2)
    while one.pronoun == other.pronoun:
        one, other = rng.sample(world.people, 2)
    actor = rng.choice((one, other))
    he, deed = actor.pronoun.capitalize(), rng.choice(DEEDS)
    ending = rng.choice(
        (
            f"It was {actor.name} who {deed}.",
            f"So {actor.name} {deed}.",
            f"That {he.lower()} was {actor.name}.",
        )
    )
    return f"{one.name} met {other.name} in the {rng.choice(PLACES)}. {he} {deed}. {ending}"


def tell_order(rng: random.Random, world: World) -> str:
    """Two deeds told with before or after, then which came first and which came last."""
    name = rng.choice(world.people).name
    early, late = rng.sample(DEEDS, 2)
    told = rng.choice(
        (
            f"{name} {early} before {name} {late}.",
            f"{name} {late} after {name} {early}.",
            f"Before {name} {late}, {name} {early}.",
            f"After {name} {early}, {name} {late}.",
        )
    )
    ending = rng.choice((f"At first {name} {early}.", f"In the end {name} {late}."))
    return f"{told} {ending}"


def tell_leftover(rng: random.Random, world: World) -> str:
    """Things on a table; all but one are taken."""
    name = rng.choice(world.people).name
    things = rng.sample(PORTABLE, rng.choice((3, 4)))
    left = rng.choice(things)
    taken = [thing for thing in things if thing != left]
    rng.shuffle(taken)
    ending = rng.choice(
        (f"Only the {left} was left.", f"The {left} stayed there.", f"{name} did not want the {left}.")
    )
    return f"On the table were {join_words(things)}. {name} took {join_words(taken)}. {ending}"


def tell_echo(rng: random.Random, world: World) -> str:
    """A list of words that is said twice."""
    words = rng.sample(PORTABLE + PLACES + DEEDS, rng.randint(4, 7))
    one, other = (person.name for person in rng.sample(world.people, 2))
    told = " ".join([one, *words, other])
    return f"{told}. Again, {told}."


def tell_count(rng: random.Random, world: World) -> str:
    """A list of things and how many they are."""
    name = rng.choice(world.people).name
    count = rng.randint(2, 5)
    things = rng.sample(PORTABLE, count)
    ending = rng.choice(
        (f"That makes {NUMBERS[count - 1]} things.", f"{name} carries {NUMBERS[count - 1]} things.")
    )
    return f"{name} has {join_words(things)}. {ending}"


def tell_move(rng: random.Random, world: World) -> str:
    """A thing is carried from one place to another, and where it is now."""
    name, thing = rng.choice(world.people).name, rng.choice(PORTABLE)
    start, end = rng.sample(PLACES, 2)
    ending = rng.choice((f"Now the {thing} is in the {end}.", f"The {thing} used to be in the {start}."))
    return f"{name} took the {thing} from the {start} to the {end}. {ending}"


def tell_kinds(rng: random.Random, world: World) -> str:
    """Members of kinds: what each is, which of some is of a kind, which does not belong."""
    (kind, members), (other_kind, others) = rng.sample(list(KINDS.items()), 2)
    member = rng.choice(members)
    odd, group = rng.choice(others), rng.sample(members, 3)
    mixed = [*group, odd]
    rng.shuffle(mixed)
    three = [member, *(rng.choice(KINDS[k]) for k in rng.sample([k for k in KINDS if k != kind], 2))]
    rng.shuffle(three)
    wordings = (
        f"The {member} is a kind of {kind}.",
        f"Every {member} is {with_article(kind)}, and no {member} is {with_article(other_kind)}.",
        f"One {kind} is the {member}, another is the {rng.choice([m for m in members if m != member])}.",
        f"Here are {join_words(mixed)}. The {odd} does not belong.",
        f"Here are {join_words(mixed)}. "
        f"The {odd} is {with_article(other_kind)}, the others are of the kind {kind}.",
        f"Here are {join_words(three)}. Only the {member} is {with_article(kind)}.",
        f"Among {join_words(three)}, the {kind} is the {member}.",
    )
    return rng.choice(wordings)


def tell_talk(rng: random.Random, world: World) -> str:
    """Everyday talk that uses the words of agreement, number and truth in passing."""
    one, other = (person.name for person in rng.sample(world.people, 2))
    return rng.choice(
        (
            f'"Yes," said {one}, "I will come." "No," said {other}, "not today."',
            f"{one} said yes and {other} said no.",
            f"{one} said no and {other} said yes.",
            f"The question of {one} was hard. The answer of {other} was short.",
            f"True friends help. False friends hide. Neither {one} nor {other} hides.",
            f"A true word and a false word. {one} knew neither.",
            f"{one} read the first page of a story. {other} read the last page.",
            f"The premise of the story was odd, said {one}, and the verdict was late, said {other}.",
        )
    )


CORPUS_SEED = 5


def _portrait(rng: random.Random, world: World) -> str:
    return tell_person(rng, world, rng.choice(world.people))


MIX: tuple[tuple[Callable[[random.Random, World], str], float], ...] = (
    (_portrait, 34.0),
    (compare_ages, 9.0),
    (judge_scene, 14.0),
    (tell_chain, 8.0),
    (tell_pronoun, 4.0),
    (tell_order, 4.0),
    (tell_leftover, 8.0),
    (tell_count, 2.0),
    (tell_move, 2.0),
    (tell_kinds, 20.0),
    (tell_echo, 4.0),
    (tell_talk, 2.0),
)
"""What documents tell, and how often relative to each other."""


def draw_documents(seed: int = CORPUS_SEED) -> Iterator[str]:
    """Documents without end, the same ones for the same seed. None has the form of a task."""
    world, rng = build_world(), random.Random(f"corpus {seed}")
    tellers, weights = zip(*MIX, strict=True)
    while True:
        yield rng.choices(tellers, weights)[0](rng, world)
