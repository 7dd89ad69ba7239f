"""Every relation has enough subjects, of the choices of a question one is right, and frames say nothing."""

import random
import re
from itertools import product

from portal.tasks.example import SPLITS
from tools.worlds.words.tasks import ANSWERS, KNOWN_RELATIONS, NEW_RELATIONS, SHAPES, WORD_TASKS, markers

RELATIONS = (*KNOWN_RELATIONS, *NEW_RELATIONS)
LEAST = {"train": 24, "validation": 8, "test": 16}


def test_there_are_24_relations_of_source_tasks_and_more_that_no_source_has() -> None:
    assert (len(KNOWN_RELATIONS), len(NEW_RELATIONS)) == (24, 10)
    assert len({relation.name for relation in RELATIONS}) == len(RELATIONS)


def test_every_split_has_enough_subjects_each_asked_about_once_and_short_and_in_no_other_split() -> None:
    splits: dict[str, str] = {}
    for relation in RELATIONS:
        counts = {split: len(relation.facts(split)) for split in SPLITS}
        assert all(counts[split] >= least for split, least in LEAST.items()), counts
        facts = [(split, fact) for split in SPLITS for fact in relation.facts(split)]
        assert len({fact.subject for _, fact in facts}) == len(facts)
        for split, fact in facts:
            assert len(fact.subject.split()) <= 6
            assert len(fact.answer.split()) <= 3
            assert splits.setdefault(fact.cluster, split) == split, fact  # in all relations


def test_of_the_choices_one_is_right_and_both_rivals_and_strangers_are_among_the_others() -> None:
    for relation, num_choices in product(RELATIONS, (3, 4, 5)):
        rng = random.Random(0)
        for fact in (fact for split in SPLITS for fact in relation.facts(split)):
            question = relation.ask(rng, fact, num_choices)
            others = [choice for choice in question.choices if choice != fact.answer]
            assert len(set(question.choices)) == len(question.choices) == num_choices
            assert len(others) == num_choices - 1
            assert not fact.also_right & set(others)
            assert sum(choice in fact.rivals for choice in others) == min(len(fact.rivals), num_choices // 2)
            assert set(others) - set(fact.rivals) <= set(relation.inventory)


def test_markers_differ_and_are_no_word_of_a_table() -> None:
    made = markers(len(WORD_TASKS))
    words = {
        word.lower()
        for relation in RELATIONS
        for row in relation.table.rows
        for field in row.values()
        for value in field
        for word in value.split()
    }

    assert len(set(made)) == len(WORD_TASKS)
    assert not set(made) & words
    assert markers(40)[:10] == markers(10)  # more markers begin with the same ones


def test_every_shape_has_subject_and_marker_and_no_word_and_every_answer_style_the_answer() -> None:
    for shape in SHAPES:
        assert {"{s}", "{m}"} <= {*re.findall(r"{\w}", shape)}
        assert not re.search(r"[^\W\d_]", re.sub(r"{[sm]}", "", shape))
    assert len(set(SHAPES)) == len(SHAPES)
    assert all(style.count("{a}") == 1 for style in ANSWERS)
