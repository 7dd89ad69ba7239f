"""The fourteen builders on real rows of each (beside the checkout; skipped where they are not)."""

import re

import pytest

from portal.data.suite import Suite
from portal.data.suites import load_suite
from portal.tasks.example import SPLITS, Example
from portal.tasks.portal14 import BUILDERS
from tests.support.shared import ROWS, needs_rows

LABELS = {
    "rte": {" True", " False"},
    "cb": {" True", " False", " Neither"},
    "wic": {" no", " yes"},
    "wsc": {" no", " yes"},
    "boolq": {" no", " yes"},
}


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


@needs_rows
@pytest.mark.parametrize("task", BUILDERS)
def test_no_cluster_is_in_both_training_and_validation(suite: Suite, task: str) -> None:
    train, validation = (
        {example.cluster for example in suite.examples(task, split)} for split in ("train", "validation")
    )

    assert not train & validation


@needs_rows
@pytest.mark.parametrize("task", BUILDERS)
def test_no_position_tells_the_gold_choice(suite: Suite, task: str) -> None:
    """Choices are shuffled by row: the first is gold about as often as any other."""
    examples = suite.examples(task, "train")

    expected = sum(1 / len(example.choices) for example in examples)
    variance = sum((1 - 1 / len(e.choices)) / len(e.choices) for e in examples)
    assert abs(sum(example.gold == 0 for example in examples) - expected) < 4 * variance**0.5


@needs_rows
def test_the_choices_of_a_row_are_in_the_same_order_wherever_it_is_read(suite: Suite) -> None:
    again = load_suite("portal14", data=str(ROWS))

    assert again.examples("sciq", "test") == suite.examples("sciq", "test")


@needs_rows
@pytest.mark.parametrize(
    ("task", "prompt"),
    [
        ("rte", r"(?s).+\nQuestion: .+ True or False\?\nAnswer:"),
        ("cb", r"(?s).+\nQuestion: .+ True, False, or Neither\?\nAnswer:"),
        ("copa", r".+[^.?!] (because|therefore)"),
        (
            "wic",
            r"Sentence 1: .+\nSentence 2: .+\nQuestion: Is the word '.+' used the same way "
            r"in both sentences\?\nAnswer:",
        ),
        (
            "wsc",
            r'(?s).+\nQuestion: In the passage above, does the pronoun ".+" refer to ".+"\?\nAnswer:',
        ),
        ("boolq", r"(?s).+\nQuestion: .+\?\nAnswer:"),
        ("sciq", r"(?s)Question: .+\nAnswer:"),
        ("hellaswag", r"[^\[\]]+: [^\[\]]+"),
        ("winogrande", r"[^_]+"),
    ],
)
def test_prompts_have_the_form_of_their_task(suite: Suite, task: str, prompt: str) -> None:
    for example in suite.examples(task, "test"):
        assert re.fullmatch(prompt, example.prompt), example


@needs_rows
def test_copa_keeps_a_leading_i_and_lowers_every_other_first_letter(suite: Suite) -> None:
    first = [choice[1:] for e in suite.examples("copa", "train") for choice in e.choices]

    assert all(text[0].islower() or re.match(r"I\b", text) or not text[0].isalpha() for text in first)
    assert any(re.match(r"I\b", text) for text in first)


@needs_rows
def test_winogrande_choices_carry_the_rest_of_the_sentence_and_twins_share_a_cluster(suite: Suite) -> None:
    train = suite.examples("winogrande", "train")
    sizes: dict[str, int] = {}
    for example in train:
        sizes[example.cluster] = sizes.get(example.cluster, 0) + 1
        first, second = example.choices
        assert _common_end(first, second).strip()

    assert set(sizes.values()) == {2}


@needs_rows
def test_the_last_quarter_of_truthfulqa_is_reported(suite: Suite) -> None:
    test, rest = (
        {example.id for split in splits for example in suite.examples("truthfulqa", split)}
        for splits in (("test",), ("train", "validation"))
    )

    assert min(test) > max(rest)
    assert len(test) / (len(test) + len(rest)) == pytest.approx(0.25, abs=0.01)


@needs_rows
def test_equal_choices_are_made_one_and_counted(suite: Suite) -> None:
    merged = suite.lint("commonsense_qa").merged

    assert sum(merged.values()) > 0
    assert all(len(set(e.choices)) == len(e.choices) for e in suite.examples("commonsense_qa", "train"))


def _common_end(first: str, second: str) -> str:
    count = 0
    while count < min(len(first), len(second)) and first[-1 - count] == second[-1 - count]:
        count += 1
    return first[len(first) - count :]


def _record(task: str) -> dict[str, object]:
    """A row of the publisher's schema, in our own words."""
    return {
        "rte": {"premise": "It rains.", "hypothesis": "It is wet.", "label": 0},
        "copa": {
            "premise": "The cup broke.",
            "choice1": "It fell.",
            "choice2": "It slept.",
            "question": "cause",
            "label": 0,
        },
        "arc_easy": {
            "question": "What is wet?",
            "choices": {"text": ["rain", "fire"], "label": ["1", "2"]},
            "answerKey": "1",
        },
    }[task]


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("rte", {"label": 2}, "task 'rte', split 'train', row 1: label 2 is none of the 2 choices"),
        ("rte", {"premise": None}, "task 'rte', split 'train', row 1: "),
        ("copa", {"question": "why"}, "question 'why' is neither 'cause' nor 'effect'"),
        ("arc_easy", {"answerKey": "C"}, "answerKey 'C' is none of 1, 2"),
    ],
)
def test_a_malformed_row_is_refused_by_task_split_and_number(
    task: str, change: dict[str, object], message: str
) -> None:
    rows = [_record(task), _record(task) | change]

    with pytest.raises(ValueError, match=re.escape(message)):
        BUILDERS[task].examples(lambda split: rows)


def test_a_renamed_column_is_refused_naming_it_and_those_that_are_there() -> None:
    row = _record("rte")
    row["claim"] = row.pop("hypothesis")

    message = r"task 'rte', split 'train', row 0: no column 'hypothesis'; it has claim, label, premise"
    with pytest.raises(ValueError, match=message):
        BUILDERS["rte"].examples(lambda split: [row])


def test_unlabelled_rows_are_dropped_and_counted() -> None:
    rows = [_record("rte") | {"premise": f"It rains on day {day}."} for day in range(20)]
    rows[3] |= {"label": -1}

    splits, lint = BUILDERS["rte"].examples(lambda split: rows)

    examples: list[Example] = [e for examples in splits.values() for e in examples]
    assert len(examples) == 2 * 19
    assert lint.dropped == {("train", "no label"): 1, ("validation", "no label"): 1}
