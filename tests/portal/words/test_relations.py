"""Every relation has enough subjects, and of the choices of a question one is right."""

import random

import pytest

from portal.tasks.example import SPLITS
from portal.words.relations import KNOWN_RELATIONS, NEW_RELATIONS, Relation

RELATIONS = (*KNOWN_RELATIONS, *NEW_RELATIONS)
LEAST = {"train": 24, "validation": 8, "test": 16}
each_relation = pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)


def test_there_are_24_relations_of_source_tasks_and_more_that_no_source_has() -> None:
    names = [relation.name for relation in RELATIONS]

    assert (len(KNOWN_RELATIONS), len(NEW_RELATIONS)) == (24, 10)
    assert len(set(names)) == len(names)


@each_relation
def test_every_split_has_its_least_number_of_subjects(relation: Relation) -> None:
    counts = {split: len(relation.facts(split)) for split in SPLITS}

    assert all(counts[split] >= least for split, least in LEAST.items()), counts


@each_relation
def test_a_subject_is_asked_about_once_and_is_short(relation: Relation) -> None:
    facts = [fact for split in SPLITS for fact in relation.facts(split)]
    subjects = [fact.subject for fact in facts]

    assert len(set(subjects)) == len(subjects)
    assert all(len(fact.subject.split()) <= 6 and len(fact.answer.split()) <= 3 for fact in facts)


def test_what_is_asked_about_has_one_split_in_all_relations() -> None:
    splits: dict[str, set[str]] = {}
    for relation in RELATIONS:
        for split in SPLITS:
            for fact in relation.facts(split):
                splits.setdefault(fact.cluster, set()).add(split)

    assert [cluster for cluster, found in splits.items() if len(found) > 1] == []


@each_relation
@pytest.mark.parametrize("num_choices", [3, 4, 5])
def test_of_the_choices_one_is_right_and_both_rivals_and_strangers_are_among_the_others(
    relation: Relation, num_choices: int
) -> None:
    rng = random.Random(0)
    for split in SPLITS:
        for fact in relation.facts(split):
            question = relation.ask(rng, fact, num_choices)
            others = [choice for choice in question.choices if choice != fact.answer]

            assert len(set(question.choices)) == len(question.choices) == num_choices
            assert len(others) == num_choices - 1
            assert not fact.also_right & set(others)
            assert sum(choice in fact.rivals for choice in others) == min(len(fact.rivals), num_choices // 2)
            assert set(others) - set(fact.rivals) <= set(relation.inventory)
