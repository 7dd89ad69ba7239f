"""48 tasks with written answers, the same everywhere: right by their own metric, unlike the corpus."""

import hashlib
import json
import re
from itertools import islice

import pytest
from transformers import AutoTokenizer

from portal.data.token_rows import encode_examples
from portal.evaluate.text_metrics import find_metric
from portal.ledger import tasks
from portal.ledger.corpus import draw_documents
from portal.ledger.people import SIZES, people_of
from portal.ledger.pretrain import BASES_DIR, LEDGER_BASES
from portal.ledger.tasks import GROUPS, KINDS, LEDGER_TASKS, answers_of, kind_of, ledger_examples
from portal.tasks.example import SPLITS

EXAMPLES_SHA256 = "ad4625581efcdbfa9186a50c88918ff14fba052083037ccc82654c1f5066d244"


def test_examples_are_the_same_in_every_process_and_version() -> None:
    digest = hashlib.sha256()
    for task in LEDGER_TASKS:
        for split in SPLITS:
            digest.update(json.dumps([example.values for example in ledger_examples(task, split)]).encode())

    assert digest.hexdigest() == EXAMPLES_SHA256


def test_examples_do_not_depend_on_what_was_drawn_before() -> None:
    first = ledger_examples("count_3", "test")
    tasks._draw_split.cache_clear()
    ledger_examples("visit_2", "train")

    assert ledger_examples("count_3", "test") == first


def test_every_task_has_a_row_for_every_person_of_a_split() -> None:
    for task in LEDGER_TASKS:
        people = [{example.cluster for example in ledger_examples(task, split)} for split in SPLITS]
        assert people == [{person.name for person in people_of(split)} for split in SPLITS]
        assert [len(names) for names in people] == [SIZES[split] for split in SPLITS]


def test_groups_are_balanced_and_nested_and_new_tasks_are_in_none() -> None:
    sizes = {name: len(members) for name, members in GROUPS.items()}
    assert sizes == {"written-6": 6, "written-24": 24, "written-36": 36, "written-new": 12}
    for members in GROUPS.values():
        kinds = [kind_of(task) for task in members]
        assert {kind.name: len(members) // len(KINDS) for kind in KINDS} == {k: kinds.count(k) for k in kinds}
    assert set(GROUPS["written-6"]) < set(GROUPS["written-24"]) < set(GROUPS["written-36"])
    assert not set(GROUPS["written-36"]) & set(GROUPS["written-new"])


@pytest.mark.parametrize("task", GROUPS["written-6"])
def test_a_right_answer_is_worth_1_and_one_of_another_row_less(task: str) -> None:
    answers = answers_of(task)
    assert answers is not None
    measure = find_metric(answers.metric)
    examples = ledger_examples(task, "test")
    texts = [example.choices[0] for example in examples]
    references = [example.written.references for example in examples if example.written is not None]

    assert all(measure(text, own) == 1.0 for text, own in zip(texts, references, strict=True))
    moved = [measure(text, own) for text, own in zip([*texts[1:], texts[0]], references, strict=True)]
    assert sum(moved) / len(moved) < 0.6


def test_sums_are_right_and_never_negative() -> None:
    for example in ledger_examples("count_1", "train"):
        first, second = re.findall(r"(\d+) ([+-]) (\d+) = (\d+)\.", example.choices[0])
        assert int(first[0]) + int(first[2]) == int(first[3])
        assert int(second[0]) - int(second[2]) == int(second[3]) >= 1
        assert (first[3], first[1], second[1]) == (second[0], "+", "-")
        had, got, lost = re.findall(r"\d+", example.prompt)
        assert (had, got, lost) == (first[0], first[2], second[2])


def test_the_corpus_has_no_frame_and_every_token_of_every_answer() -> None:
    """But for the space before a record, which stands at the start of a document there."""
    documents = list(islice(draw_documents(), 20_000))
    text = "\n".join(documents)
    markers = {tasks._TASKS[task].marker for task in LEDGER_TASKS}
    assert len(markers) == len(LEDGER_TASKS)
    assert not any(re.search(rf"\b{marker}\b", text) for marker in markers)
    for base in ("ledger-qwen3-s", "ledger-gemma3"):
        tokenizer = AutoTokenizer.from_pretrained(BASES_DIR / base)
        seen = {token for ids in tokenizer(documents).input_ids for token in ids} | {tokenizer.eos_token_id}
        (space,) = tokenizer(" {", add_special_tokens=False).input_ids[:-1]
        for task in GROUPS["written-6"]:
            rows = encode_examples(
                ((example, "test") for example in ledger_examples(task, "test")), tokenizer, max_prompt=256
            )
            limit = answers_of(task)
            assert limit is not None
            assert {token for row in rows for token in row.choices[0]} <= seen | {space}, task
            assert max(len(row.choices[0]) for row in rows) <= limit.max_new_tokens, task


@pytest.mark.parametrize("name", ["home_9", "nothing"])
def test_an_unknown_task_or_split_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="unknown task"):
        ledger_examples(name, "test")
    with pytest.raises(ValueError, match="unknown split 'tests'; did you mean 'test'"):
        ledger_examples("home_1", "tests")
    assert answers_of(name) is None
    assert len(LEDGER_BASES) == 3
