"""The fourteen builders on real rows of each, and their known sizes (skipped where there are no rows)."""

import re
from collections import Counter
from statistics import mean, quantiles

import pytest

from portal.data.suites import Suite, load_suite, outline_suite
from portal.tasks.example import SPLITS, shared_start
from portal.tasks.portal14 import BUILDERS, SIZES, SizedRows
from tests.support.shared import ROWS, needs_rows

LABELS = {
    "rte": {" True", " False"},
    "cb": {" True", " False", " Neither"},
    "wic": {" no", " yes"},
    "wsc": {" no", " yes"},
    "boolq": {" no", " yes"},
}
PROMPTS = {
    "rte": r"(?s).+\nQuestion: .+ True or False\?\nAnswer:",
    "cb": r"(?s).+\nQuestion: .+ True, False, or Neither\?\nAnswer:",
    "copa": r".+[^.?!] (because|therefore)",
    "wic": r"Sentence 1: .+\nSentence 2: .+\nQuestion: Is the word '.+' used the same way "
    r"in both sentences\?\nAnswer:",
    "wsc": r'(?s).+\nQuestion: In the passage above, does the pronoun ".+" refer to ".+"\?\nAnswer:',
    "boolq": r"(?s).+\nQuestion: .+\?\nAnswer:",
    "sciq": r"(?s)Question: .+\nAnswer:",
    "hellaswag": r"[^\[\]]+: [^\[\]]+",
    "winogrande": r"[^_]+",
}
WHOLE = set(BUILDERS) - {"wsc", "boolq", "hellaswag", "winogrande", "sciq"}
"""Tasks of whose rows all are there that are read."""


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("portal14", data=str(ROWS))


@needs_rows
@pytest.mark.parametrize("task", BUILDERS)
def test_every_real_row_becomes_an_example_with_spaced_choices_and_its_gold(suite: Suite, task: str) -> None:
    by_split = {split: suite.examples(task, split) for split in SPLITS}

    examples = [example for split in SPLITS for example in by_split[split]]
    assert all(choice[0] == " " and choice[1] != " " for e in examples for choice in e.choices)
    assert all(not e.prompt[-1].isspace() for e in examples)
    assert all(len(set(e.choices)) == len(e.choices) for e in examples)
    assert len({e.id for e in examples}) == len(examples)
    assert sum(suite.lint(task).dropped.values()) == 0
    if task in LABELS:
        assert {choice for e in examples for choice in e.choices} == LABELS[task]
    for example in by_split["test"] if task in PROMPTS else ():
        assert re.fullmatch(PROMPTS[task], example.prompt), example
    train, validation = ({example.cluster for example in by_split[split]} for split in SPLITS[:2])
    assert not train & validation
    # choices are shuffled by row: the first is gold about as often as any other
    expected = sum(1 / len(example.choices) for example in by_split["train"])
    variance = sum((1 - 1 / len(e.choices)) / len(e.choices) for e in by_split["train"])
    assert abs(sum(example.gold == 0 for example in by_split["train"]) - expected) < 4 * variance**0.5


@needs_rows
def test_tasks_with_rules_of_their_own_follow_them(suite: Suite) -> None:
    first = [choice[1:] for e in suite.examples("copa", "train") for choice in e.choices]
    assert all(text[0].islower() or re.match(r"I\b", text) or not text[0].isalpha() for text in first)
    assert any(re.match(r"I\b", text) for text in first)

    train = suite.examples("winogrande", "train")
    for example in train:  # choices carry the rest of the sentence, and twins share a cluster
        one, other = (choice[::-1] for choice in example.choices)
        assert one[: shared_start([one, other])].strip()
    assert set(Counter(example.cluster for example in train).values()) == {2}

    test, rest = (
        {example.id for split in splits for example in suite.examples("truthfulqa", split)}
        for splits in (("test",), ("train", "validation"))
    )
    assert min(test) > max(rest)  # the last quarter is reported
    assert len(test) / (len(test) + len(rest)) == pytest.approx(0.25, abs=0.01)

    assert sum(suite.lint("commonsense_qa").merged.values()) > 0  # equal choices are made one


RTE = {"premise": "It rains.", "hypothesis": "It is wet.", "label": 0}
COPA = {"premise": "The cup broke.", "choice1": "It fell.", "choice2": "It slept.", "question": "cause"}
ARC = {"question": "What is wet?", "choices": {"text": ["rain", "fire"], "label": ["1", "2"]}}


def test_a_malformed_row_is_refused_by_task_split_and_number() -> None:
    rows: list[tuple[str, dict[str, object], dict[str, object], str]] = [
        ("rte", RTE, {"label": 2}, "task 'rte', split 'train', row 1: label 2 is none of the 2 choices"),
        ("rte", RTE, {"premise": None}, "task 'rte', split 'train', row 1: "),
        ("copa", {**COPA, "label": 0}, {"question": "why"}, "question 'why' is neither 'cause' nor 'effect'"),
        ("arc_easy", {**ARC, "answerKey": "1"}, {"answerKey": "C"}, "answerKey 'C' is none of 1, 2"),
    ]
    for task, row, change, message in rows:
        with pytest.raises(ValueError, match=message):
            BUILDERS[task].examples(lambda split, own=[row, row | change]: own)

    renamed = {"premise": "It rains.", "claim": "It is wet.", "label": 0}
    message = r"task 'rte', split 'train', row 0: no column 'hypothesis'; it has claim, label, premise"
    with pytest.raises(ValueError, match=message):
        BUILDERS["rte"].examples(lambda split: [renamed])


def test_unlabelled_rows_are_dropped_and_counted() -> None:
    rows = [RTE | {"premise": f"It rains on day {day}."} for day in range(20)]
    rows[3] |= {"label": -1}

    splits, lint = BUILDERS["rte"].examples(lambda split: rows)

    assert sum(map(len, splits.values())) == 2 * 19
    assert lint.dropped == {("train", "no label"): 1, ("validation", "no label"): 1}


def test_every_task_has_rows_as_many_and_as_long_as_stated() -> None:
    rows = SizedRows("copa", "train")

    assert SIZES.keys() == BUILDERS.keys()
    assert all(min(sizes.rows) > 0 for sizes in SIZES.values())
    assert len(rows) == len(list(rows)) == len({example.id for example in rows}) == 360
    assert [len(example.prompt) for example in rows[:5]] == list(SIZES["copa"].prompt_chars)
    assert {len(choice) for example in rows[-3:] for choice in example.choices} == {29}
    assert rows[-1].id == rows[359].id


def test_an_outline_has_the_tasks_of_its_suite_and_says_what_it_is() -> None:
    suite = load_suite("portal14")
    outlined = outline_suite(suite)

    assert (outlined.is_outline, suite.is_outline) == (True, False)
    assert len(outlined.examples("boolq", "test")) == 3270
    with pytest.raises(ValueError, match="suite 'mini': the sizes of its tasks are not known here"):
        outline_suite(load_suite("mini"))


@pytest.mark.slow
@needs_rows
@pytest.mark.parametrize("task", BUILDERS)
def test_sizes_are_those_of_real_rows(suite: Suite, task: str) -> None:
    sizes, examples = SIZES[task], {split: suite.examples(task, split) for split in SPLITS}
    every = [example for own in examples.values() for example in own]

    if task in WHOLE:
        assert tuple(len(examples[split]) for split in SPLITS) == sizes.rows
    tenths = quantiles([len(example.prompt) for example in every], n=10)
    assert sizes.prompt_chars == tuple(round(tenths[place]) for place in (0, 2, 4, 6, 8))
    assert sizes.choice_chars == pytest.approx(mean(len(c) for e in every for c in e.choices), abs=0.6)
    assert sizes.choices == pytest.approx(mean(len(example.choices) for example in every), abs=0.5)
