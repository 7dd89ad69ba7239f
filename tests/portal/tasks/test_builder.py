"""Rows to examples: carving by cluster, choice order, written answers, and what is counted or refused."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.tasks.builder import (
    Builder,
    Draft,
    Dropped,
    carve,
    draft_row,
    draft_turns,
    shuffle_choices,
    written_columns,
)
from portal.tasks.example import Example, Lint, Written
from portal.tasks.records import Record

USER = {"role": "user", "content": "Where is Bada?"}
ANSWER = {"role": "assistant", "content": "In Oakham."}


def carved(
    examples: Sequence[Example], *, share: float, most: int = 1000
) -> tuple[list[Example], list[Example]]:
    return carve("sums", examples, share=share, most=most, lint=Lint())


def example(number: int, cluster: str, *, gold: int = 0) -> Example:
    return Example("sums", f"{number:04d}", f"{number} + 1 =", (" a", " b", " c"), gold, cluster)


@given(st.lists(st.integers(0, 30), min_size=2, max_size=120).filter(lambda names: len(set(names)) > 1))
def test_carving_takes_whole_clusters_and_leaves_some_in_whatever_order_the_rows_are(
    clusters: list[int],
) -> None:
    examples = [example(number, str(cluster)) for number, cluster in enumerate(clusters)]

    rest, taken = carved(examples, share=0.2)

    assert rest
    assert taken
    assert sorted(e.id for e in rest + taken) == [e.id for e in examples]
    assert not {e.cluster for e in rest} & {e.cluster for e in taken}
    assert {e.id for e in carved(examples[::-1], share=0.2)[1]} == {e.id for e in taken}


def test_a_carved_slice_has_its_share_and_no_more_than_its_cap_of_two_clusters_at_least() -> None:
    examples = [example(number, str(number)) for number in range(1000)]
    assert len(carved(examples, share=0.1, most=500)[1]) == 100
    assert len(carved(examples, share=0.1, most=50)[1]) == 50

    few = "fewer than two rows are left: none can be held out"
    for count, reason in ((0, few), (1, few), (5, "all 5 rows share one cluster")):
        with pytest.raises(ValueError, match=f"task 'sums': {reason}"):
            carved([example(number, "same") for number in range(count)], share=0.1)


@given(st.integers(0, 2), st.integers(0, 500))
def test_shuffling_moves_the_gold_choice_with_its_text(gold: int, number: int) -> None:
    before = example(number, "c", gold=gold)

    after = shuffle_choices(before)

    assert after.choices[after.gold] == before.choices[gold]
    assert sorted(after.choices) == sorted(before.choices)
    assert shuffle_choices(before) == after


def plain(record: Record) -> Draft:
    return Draft(record["prompt"], tuple(record["choices"]), record["gold"])


def row(prompt: object, *choices: str, gold: int = 0) -> Record:
    return {
        "prompt": f"{prompt} + 1 =" if isinstance(prompt, int) else prompt,
        "choices": choices,
        "gold": gold,
    }


def test_faulty_rows_are_counted_by_reason_and_repeated_ones_stay() -> None:
    good = [row(n, " a", " b") for n in range(10)]
    faulty = [row("  ", " a", " b"), row("x", " a", " "), row("x", " a", " a", gold=1)]
    builder = Builder("sums", None, "none", ("prompt", "choices", "gold"), plain, validation="v", test="t")

    splits, lint = builder.examples(lambda split: [*good, *faulty, good[0]] if split == "train" else good)
    lint.compare(splits)

    reasons = ("empty prompt", "empty choice", "only one choice")
    assert lint.dropped == {("train", reason): 1 for reason in reasons}
    assert lint.merged["train"] == 1
    assert lint.duplicates == {"train": 1, "validation": 0, "test": 0}
    assert lint.counts() == (3, 1, 10, 1, 10)
    assert len(splits["train"]) == 11


def test_too_few_rows_are_explained_by_the_rows_that_were_dropped() -> None:
    rows = [row(1, " a", " b"), row(2, " a"), row(3, " a"), row(" ", " a", " b")]
    builder = Builder("sums", None, "none", ("prompt",), plain, test=None)

    with pytest.raises(ValueError, match="split 'train': no usable row among 1; dropped rows: 1 of"):
        builder.examples(lambda split: rows[3:])
    with pytest.raises(ValueError, match="fewer than two rows are left") as caught:
        builder.examples(lambda split: rows)
    assert str(caught.value).endswith(
        "dropped rows: 1 of split train: empty prompt (first: row 3); "
        "2 of split train: only one choice (first: row 1)"
    )


def test_rows_that_name_no_cluster_are_clusters_of_their_own_and_shared_by_no_split() -> None:
    rows = [row(n, " a", " b") for n in range(12)]
    named = ["mine", None, None, None, None, "other", *[None] * 6]
    builder = Builder("sums", None, "none", ("prompt",), plain, lambda _: named, validation="v", test="t")

    splits, lint = builder.examples(lambda split: rows)
    lint.compare(splits)

    assert [e.cluster for e in splits["test"]][:6] == ["mine", "1", "2", "3", "4", "other"]
    assert lint.shared_clusters == 2


def drafted(row: Record) -> Any:
    columns = written_columns(row)
    assert columns is not None
    return draft_row(row, columns)


def turns(drafted: object) -> list[Draft]:
    assert isinstance(drafted, tuple)
    assert all(isinstance(draft, Draft) for draft in drafted)
    return list(drafted)


def conversation(draft: Draft) -> Any:
    assert draft.written is not None
    return json.loads(str(draft.written.conversation))


def test_the_first_right_answer_is_trained_on_parted_from_its_prompt_by_white_space() -> None:
    one, several = Written(("Oakham",)), Written(("Oakham", "in Oakham"))
    for row, draft in (
        ({"prompt": "Where?", "answer": "Oakham"}, Draft("Where?", (" Oakham",), 0, one)),
        ({"prompt": "Where?", "answers": [*several.references]}, Draft("Where?", (" Oakham",), 0, several)),
        ({"prompt": "Where?\n", "answer": "Oakham"}, Draft("Where?\n", ("Oakham",), 0, one)),
        ({"prompt": "2 + 3 =", "answer": 5}, Draft("2 + 3 =", (" 5",), 0, Written(("5",)))),
        ({"prompt": "2?", "answer": "\n5"}, Draft("2?", ("\n5",), 0, Written(("\n5",)))),
    ):
        assert drafted(row) == draft


def test_a_form_is_known_by_its_columns_and_an_answer_with_tests_is_judged_by_them() -> None:
    for names, columns in (
        ("prompt answers answer", ("prompt", "answers")),
        ("prompt answer id", ("prompt", "answer")),
        ("messages tools", ("messages",)),
        ("instruction input output", ("instruction", "output")),
        ("prompt choices gold", None),
    ):
        assert written_columns(names.split()) == columns
    row: Record = {"prompt": "def f(x):\n", "answer": "    return x"}
    for tests in ("def f(x):{answer}\nassert f(1) == 1", ["assert f(1)", "assert f(2)"]):
        written = Written((tests,) if isinstance(tests, str) else tuple(tests))
        assert drafted(row | {"tests": tests}) == Draft(row["prompt"], (row["answer"],), 0, written)


def test_an_instruction_is_a_conversation_of_one_question() -> None:
    row = {"instruction": "Add.", "input": "2 and 3", "output": "5"}
    (draft,) = turns(drafted(row))

    assert (draft.prompt, draft.choices) == ("user: Add.\n\n2 and 3", ("5",))
    question = {"role": "user", "content": "Add.\n\n2 and 3"}
    assert conversation(draft)["messages"] == [question, {"role": "assistant", "content": "5"}]
    (without,) = turns(drafted({**row, "input": None}))
    assert without.prompt == "user: Add."


def test_every_turn_of_the_assistant_is_a_row_after_what_precedes_it() -> None:
    more = [USER, ANSWER, {"role": "user", "content": "And Dufe?"}, {"role": "assistant", "content": "Gone."}]
    first, second = turns(draft_turns(more, None))

    assert (first.choices, second.choices) == (("In Oakham.",), ("Gone.",))
    assert conversation(first)["messages"] == more[:2]
    assert conversation(second)["messages"] == more
    assert second.prompt == "user: Where is Bada?\nassistant: In Oakham.\nuser: And Dufe?"


def test_a_call_of_tools_is_an_answer_and_json_text_is_read() -> None:
    calls = [{"function": {"name": "find", "arguments": {"who": "Bada"}}}]
    tools = [{"type": "function", "function": {"name": "find"}}]
    calling = {"role": "assistant", "content": None, "tool_calls": calls}
    (draft,) = turns(draft_turns(json.dumps([USER, calling]), json.dumps(tools)))

    assert json.loads(draft.choices[0]) == calls
    assert conversation(draft)["tools"] == tools


def test_a_row_that_cannot_be_answered_is_dropped_with_its_reason() -> None:
    empty, no_test = {"role": "assistant", "content": ""}, "no test, or an empty one"
    for row, reason in (
        ({"prompt": "Where?", "answer": None}, "no answer"),
        ({"prompt": "Where?", "answer": "  "}, "empty answer"),
        ({"prompt": "Where?", "answer": "", "tests": "assert f"}, "empty answer"),
        *(({"prompt": "p", "answer": "x", "tests": each}, no_test) for each in ([], " ", ["assert x", ""])),
        ({"prompt": " ", "answer": "x"}, "empty prompt"),
        ({"prompt": "Where?", "answers": []}, "no answer"),
        ({"prompt": None, "answer": "x"}, "no prompt"),
        ({"messages": None}, "no messages"),
        ({"instruction": "Add.", "output": None}, "no output"),
        ({"messages": [USER]}, "no turn of the assistant"),
        ({"messages": [ANSWER]}, "no turn of the assistant"),
        ({"messages": [USER, empty]}, "empty answer"),
    ):
        assert drafted(row) in (Dropped(reason), (Dropped(reason),))

    dropped, whole = draft_turns([USER, empty, USER, ANSWER], None)
    assert dropped == Dropped("empty answer")
    assert whole.choices == ("In Oakham.",)


def test_a_value_of_another_kind_is_refused() -> None:
    for row, reason in (
        ({"prompt": ["x"], "answer": "x"}, "prompt must be text, got .'x'."),
        ({"prompt": "x", "answers": "Oakham"}, "answers must be a list"),
        ({"prompt": "x", "answer": True}, "an answer must be text, got True"),
        ({"messages": "[{"}, "not readable as JSON"),
        ({"messages": {"role": "user"}}, "must be a list of objects"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role 'robot' is none of"),
        ({"messages": [{"role": "user", "content": [3]}, ANSWER]}, "content of a message must be text"),
    ):
        with pytest.raises(ValueError, match=reason):
            drafted(row)
