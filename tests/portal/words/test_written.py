"""Six tasks of words with written answers: right by their own metric, short, with the splits of `words`."""

import json
import re

import pytest

from portal.data.suites import load_suite
from portal.evaluate.text_metrics import find_metric
from portal.tasks.example import SPLITS
from portal.words import written
from portal.words.tasks import word_examples
from portal.words.written import WRITTEN_TASKS, answers_of, written_examples


def test_examples_do_not_depend_on_what_was_drawn_before() -> None:
    first = written_examples("write_plurals", "test")
    written._draw_split.cache_clear()
    written_examples("write_sum", "train")

    assert written_examples("write_plurals", "test") == first


@pytest.mark.parametrize("task", WRITTEN_TASKS)
def test_a_right_answer_is_worth_1_and_one_of_another_row_less(task: str) -> None:
    answers = answers_of(task)
    assert answers is not None
    measure = find_metric(answers.metric)
    examples = written_examples(task, "test")
    references = [example.written.references for example in examples if example.written is not None]
    assert len(references) == len(examples) >= 24

    assert all(measure(right, own) == 1 for own in references for right in own)
    shifted = zip(references, references[1:] + references[:1], strict=True)
    assert sum(measure(other[0], own) == 1 for own, other in shifted) <= 1


@pytest.mark.parametrize("task", WRITTEN_TASKS)
def test_no_subject_of_a_split_is_in_another(task: str) -> None:
    subjects = [{example.cluster for example in written_examples(task, split)} for split in SPLITS]

    assert [len(each) for each in subjects] == [len(written_examples(task, split)) for split in SPLITS]
    assert sum(map(len, subjects)) == len(set.union(*subjects))
    assert len(subjects[0]) >= 40


def test_subjects_have_the_splits_of_the_tasks_with_choices() -> None:
    for own, other in (("write_capital", "capital_01"), ("write_french", "french_01")):
        for split in SPLITS:
            there = {example.cluster for example in word_examples(other, split)}
            assert {example.cluster for example in written_examples(own, split)} == there


def test_answers_are_what_their_prompts_ask_for() -> None:
    for example in written_examples("write_sum", "train"):
        first, second, total = map(int, re.findall(r"\d+", example.choices[0]))
        assert first + second == total
    for example in written_examples("write_forms", "train"):
        assert list(json.loads(example.choices[0])) == ["past", "gerund"]
    for example in written_examples("write_plurals", "train"):
        assert example.prompt.splitlines()[0].count(",") == example.choices[0].count(",") == 2
    for example in written_examples("write_yesterday", "train"):
        today = example.prompt.splitlines()[0].removeprefix("Today:")
        assert today.split()[:2] == example.choices[0].split()[:2]
        assert today != example.choices[0]


def test_the_suite_knows_how_its_answers_are_judged() -> None:
    suite = load_suite("written-words")

    assert suite.tasks == WRITTEN_TASKS
    assert suite.answers_of(suite.tasks) == {task: answers_of(task) for task in WRITTEN_TASKS}
    assert answers_of("capital_01") is None
