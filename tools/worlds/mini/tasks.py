"""The tasks of `mini`: multiple-choice questions about the small world, in forms that no corpus has."""

import random
from functools import cache

from portal.tasks.example import SPLITS, Example
from tools.worlds.mini.corpus import draw_scene
from tools.worlds.mini.question import Draw, Question, chains_of, names_of, people_of, to_example
from tools.worlds.mini.world import (
    DEEDS,
    FOODS,
    JOBS,
    KINDS,
    NUMBERS,
    PLACES,
    PORTABLE,
    TOWNS,
    Person,
    build_world,
)

_QA_WORDS = {
    "home": ("address", "residence"),
    "birthplace": ("cradle", "origin"),
    "workplace": ("office", "desk"),
}
_MEAL_FRAMES = {
    "likes": ("{n} smiled at dinner: there was", "Delight of {n} at noon:", "{n} took more and more"),
    "hates": ("{n} left the table: there was", "Disgust of {n} at noon:", "{n} threw away all"),
}
_ALLY_FRAMES = ("ally({n}).{word} =", "{word} <- ally <- {n}:", "{n} / ally / {word} =")


def draw_fact_qa(rng: random.Random, split: str, index: int) -> Question:
    """Home, birthplace or workplace; the person's other two towns are among the choices."""
    person = rng.choice(people_of(split))
    relation = rng.choice(tuple(_QA_WORDS))
    own = (person.home, person.birthplace, person.workplace)
    stranger = rng.choice([town for town in TOWNS if town not in own])
    prompt = f"Question: {person.name}, {rng.choice(_QA_WORDS[relation])}?\nAnswer:"
    return Question(prompt, (*own, stranger), getattr(person, relation), person.name)


def draw_completion(rng: random.Random, split: str, index: int) -> Question:
    """A sentence that the food which a person likes, or the one that they hate, completes."""
    person = rng.choice(people_of(split))
    relation = rng.choice(tuple(_MEAL_FRAMES))
    prompt = rng.choice(_MEAL_FRAMES[relation]).format(n=person.name)
    stranger = rng.choice([food for food in FOODS if food not in (person.likes, person.hates)])
    choices = (person.likes, person.hates, stranger)
    return Question(prompt, choices, getattr(person, relation), person.name)


def draw_multi_hop(rng: random.Random, split: str, index: int) -> Question:
    """The job or the home of a person's best friend; the person's own are among the choices."""
    person = rng.choice(people_of(split))
    friend = build_world().friend_of(person)
    word, own, wanted, all_words = rng.choice(
        (("trade", person.job, friend.job, JOBS), ("town", person.home, friend.home, TOWNS))
    )
    prompt = rng.choice(_ALLY_FRAMES).format(n=person.name, word=word)
    strangers = rng.sample([other for other in all_words if other not in (own, wanted)], 2)
    return Question(prompt, (own, wanted, *strangers), wanted, person.name)


def draw_comparison(rng: random.Random, split: str, index: int) -> Question:
    """Who of two people is the senior, or the junior."""
    one, other = rng.sample(people_of(split), 2)
    while (ordered := build_world().older_and_younger(one, other)) is None:
        one, other = rng.sample(people_of(split), 2)
    old, young = ordered
    word, answer = rng.choice((("senior", old), ("junior", young)))
    prompt = f"{one.name} | {other.name} | {word} ="
    return Question(prompt, (one.name, other.name), answer.name, _pair(one, other))


def draw_pronoun(rng: random.Random, split: str, index: int) -> Question:
    """A man and a woman meet: who is meant by the pronoun."""
    one, other = rng.sample(people_of(split), 2)
    while one.pronoun == other.pronoun:
        one, other = rng.sample(people_of(split), 2)
    actor, deed = rng.choice((one, other)), rng.choice(DEEDS)
    passage = f"{one.name} met {other.name} in the {rng.choice(PLACES)}. {actor.pronoun.capitalize()} {deed}."
    return Question(f"{passage}\n[{actor.pronoun}] =>", (one.name, other.name), actor.name, _pair(one, other))


def _pair(one: Person, other: Person) -> str:
    return "-".join(sorted((one.name, other.name)))


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


def draw_odd_one_out(rng: random.Random, split: str, index: int) -> Question:
    """Three members of one kind and one of another: the other one."""
    kind, other_kind = rng.sample(list(KINDS), 2)
    odd = rng.choice(KINDS[other_kind])
    mixed = [*rng.sample(KINDS[kind], 3), odd]
    rng.shuffle(mixed)
    return Question(f"[{', '.join(mixed)}] odd =", tuple(mixed), odd, "-".join(sorted(mixed)))


def draw_membership(rng: random.Random, split: str, index: int) -> Question:
    """Which of three things is of the named kind."""
    kinds = rng.sample(list(KINDS), 3)
    things = [rng.choice(KINDS[kind]) for kind in kinds]
    mixed = rng.sample(things, 3)
    return Question(f"{', '.join(mixed)} -> {kinds[0]} =>", tuple(mixed), things[0], "-".join(sorted(things)))


def draw_cause_effect(rng: random.Random, split: str, index: int) -> Question:
    """The middle of a causal chain with because (its cause) or therefore (its effect); both are choices."""
    chain = rng.choice(chains_of(split))
    name = rng.choice(names_of(split))
    cause, middle, effect = (event.format(p=name) for event in chain)
    word, answer = rng.choice((("because", cause), ("therefore", effect)))
    return Question(f"{middle}, {word}", (cause, effect), answer, chain[1].removeprefix("{p} "))


SIZES = {"train": 256, "validation": 64, "test": 150}
_DRAWS: dict[str, Draw] = {
    "cause_effect": draw_cause_effect,
    "comparison": draw_comparison,
    "completion": draw_completion,
    "counting": draw_counting,
    "entailment": draw_entailment,
    "fact_qa": draw_fact_qa,
    "leftover": draw_leftover,
    "membership": draw_membership,
    "multi_hop": draw_multi_hop,
    "odd_one_out": draw_odd_one_out,
    "passage_yesno": draw_passage_yesno,
    "pronoun": draw_pronoun,
    "time_order": draw_time_order,
}
MINI_TASKS = tuple(_DRAWS)


def mini_examples(task: str, split: str) -> list[Example]:
    """The examples of that task and split, the same everywhere; splits share no prompt and no cluster."""
    return list(_draw_task(task)[split])


@cache
def _draw_task(task: str) -> dict[str, tuple[Example, ...]]:
    """All splits of a task; a cluster that one split has used is closed to the others."""
    owner: dict[str, str] = {}
    prompts: set[str] = set()
    drawn: dict[str, tuple[Example, ...]] = {}
    for split in reversed(SPLITS):
        rng = random.Random(f"{task} {split}")
        examples: list[Example] = []
        while len(examples) < SIZES[split]:
            question = _DRAWS[task](rng, split, len(examples))
            if question.prompt in prompts or owner.setdefault(question.cluster, split) != split:
                continue
            prompts.add(question.prompt)
            examples.append(to_example(question, task, split, len(examples), SIZES[split]))
        drawn[split] = tuple(examples)
    return drawn
