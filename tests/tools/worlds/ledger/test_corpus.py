"""Passages and what is written about them: in order, from the other's side, and in JSON that can be read."""

import json
import random

from tools.worlds.ledger.corpus import give, leave_some, people_of, record_of, visit

PEOPLE = people_of("test")


def test_what_is_left_is_listed_in_its_order() -> None:
    for seed in range(50):
        passage = leave_some(random.Random(seed), PEOPLE[0])
        seen, taken = passage.text.removesuffix(".").split(" saw ", 1)[1].split(" and took ")
        things = seen.replace(" and ", ", ").split(", ")
        left = [thing for thing in things if thing not in taken.split(" and ")]
        assert passage.answer == ", ".join(left)
        assert len(left) in (2, 3)


def test_a_gift_is_told_from_the_other_side_and_a_visit_in_a_sentence() -> None:
    for seed in range(50):
        rng = random.Random(seed)
        gift = give(rng, PEOPLE[0], PEOPLE)
        giver, rest = gift.text.removesuffix(".").split(" gave the ")
        thing, other = rest.split(" to ")
        assert gift.answer == f"{other} got the {thing} from {giver}."
        assert other != giver
        told = visit(rng, PEOPLE[1])
        name, deed, *_, room = told.answer.removesuffix(".").split()
        assert told.text.startswith(f"{name} went to the {room}.")
        assert told.text.endswith(f"At last {name} {deed}.")


def test_a_record_is_json_with_the_name_where_it_is_asked_for() -> None:
    person = PEOPLE[3]
    own = {"home": person.values["home"], "job": person.values["job"]}

    assert json.loads(record_of(person, ("home", "job"), named=False)) == own
    assert json.loads(record_of(person, ("job",), named=True)) == {"name": person.name, "job": own["job"]}
