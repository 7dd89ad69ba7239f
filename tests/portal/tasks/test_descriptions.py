"""Descriptions of tasks: enough phrasings, none of them both trained on and held out."""

from collections import defaultdict

import pytest

from portal.data.suites import load_suite
from portal.tasks.descriptions import Descriptions, describe

WORDINGS = ("its sum", "the total", "what it adds up to", "all of it", "the grand total", "how much it is")


@pytest.mark.parametrize("name", ["mini", "village", "words"])
def test_every_task_has_eight_phrasings_and_four_of_its_kind_alone_that_are_held_out(name: str) -> None:
    suite = load_suite(name)
    kinds = defaultdict(set)

    for task in suite.tasks:
        found = suite.descriptions[task]
        assert (len(set(found.phrasings)), len(set(found.held_out))) == (8, 4)
        assert not set(found.phrasings) & set(found.held_out)
        for text in (*found.phrasings, *found.held_out):
            kinds[text].add(suite.kinds.get(task, task))

    assert {len(own) for own in kinds.values()} == {1}


def test_held_out_phrasings_have_wordings_of_their_own() -> None:
    found = describe("two numbers", WORDINGS, "{a}")

    assert all(any(words in text for words in WORDINGS[:4]) for text in found.phrasings)
    assert all(
        any(text.endswith(f"{words}.") or words in text for words in WORDINGS[4:]) for text in found.held_out
    )
    assert not any(words in text for words in WORDINGS[:4] for text in found.held_out)


def test_a_form_of_the_choices_is_part_of_every_phrasing() -> None:
    plain, formed = describe("two numbers", WORDINGS, "{a}"), describe("two numbers", WORDINGS, "it is {a}")

    assert all("choices look" not in text for text in (*plain.phrasings, *plain.held_out))
    assert all(
        text.endswith("The choices look like this: it is ...")
        for text in (*formed.phrasings, *formed.held_out)
    )


def test_seeds_draw_held_out_phrasings_in_turn_or_known_ones_where_none_is_held_out() -> None:
    some, none = Descriptions(("a", "b"), ("c", "d")), Descriptions(("a", "b"))

    assert [some.drawn(seed) for seed in range(3)] == ["c", "d", "c"]
    assert [none.drawn(seed) for seed in range(3)] == ["a", "b", "a"]
