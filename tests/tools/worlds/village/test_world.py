"""The world of the village: the same everywhere, with values that can be told apart."""

import re
from collections import Counter

from tests.support.markdown import ROOT
from tools.worlds.village import lexicon
from tools.worlds.village.corpus import WORDINGS
from tools.worlds.village.lexicon import CARRIED, DEEDS
from tools.worlds.village.world import NUM_SUBJECTS, PERSON_VALUES, THING_VALUES, build_world, inventory_of


def test_the_world_is_a_function_of_its_seed() -> None:
    build_world.cache_clear()
    first = build_world()
    build_world.cache_clear()

    assert build_world() == first
    assert build_world(seed=1) != first


def test_names_are_unique_and_no_word_of_the_lexicon() -> None:
    world = build_world()
    names = [subject.name for subject in (*world.people, *world.things)]
    words = {w for values in (*PERSON_VALUES.values(), *THING_VALUES.values()) for w in values}

    assert len(world.people) == len(world.things) == NUM_SUBJECTS
    assert len({name.lower() for name in names}) == len(names)
    assert not {*names} & {*words, *CARRIED, *DEEDS}


def test_values_that_could_be_mistaken_for_each_other_differ() -> None:
    for person in build_world().people:
        towns = [person.values[relation] for relation in ("home", "birthplace", "workplace")]
        assert len(set(towns)) == 3
        assert sorted(person.rivals("home")) == sorted(towns[1:])
        assert person.rivals("job") == (person.values["friend_job"],)
        assert person.rivals("plays") == ()


def test_no_value_of_a_relation_is_rare_and_every_fact_has_wordings() -> None:
    world = build_world()
    for subjects, relations in ((world.people, PERSON_VALUES), (world.things, THING_VALUES)):
        for relation in relations:
            counts = Counter(subject.values[relation] for subject in subjects)
            assert set(counts) == set(inventory_of(relation))
            assert min(counts.values()) >= 5
    assert set(WORDINGS) == {*PERSON_VALUES, *THING_VALUES}
    assert all("{n}" in wording and "{v}" in wording for each in WORDINGS.values() for wording in each)


def test_the_words_of_the_page_are_those_of_the_lexicon() -> None:
    page = (ROOT / "portal" / "embedded" / "village" / "README.md").read_text(encoding="utf-8")
    listed = page[page.index("## Words") : page.index("## Bases")]

    rows = dict(re.findall(r"^\| ([a-z ]+) \| ([\w ]+) \|$", listed, re.MULTILINE))

    known = {name: value for name, value in vars(lexicon).items() if name.isupper()}
    assert sorted(map(str.split, rows.values())) == sorted(map(list, known.values()))
