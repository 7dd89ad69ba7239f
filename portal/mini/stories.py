"""Short stories: causes, pronouns, order in time, lists that shrink and grow, kinds of things."""

import random

from portal.mini.lexicon import CHAINS, DEEDS, KINDS, NUMBERS, PLACES, PORTABLE
from portal.mini.world import World


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
