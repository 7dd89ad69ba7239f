"""Rows with written answers: every form becomes the same drafts, and what is wrong is counted or refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from portal.answers import AnswerConfig
from portal.data.suite import split_hash
from portal.data.suites import open_suite
from portal.tasks.builder import Draft, Dropped
from portal.tasks.example import SPLITS, Written
from portal.tasks.written_rows import draft_row, draft_turns, written_columns
from tests.support.task_files import write_capitals, write_jsonl

USER = {"role": "user", "content": "Where is Bada?"}
ANSWER = {"role": "assistant", "content": "In Oakham."}


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["prompt", "answers", "answer"], ("prompt", "answers")),
        (["prompt", "answer", "id"], ("prompt", "answer")),
        (["messages", "tools"], ("messages",)),
        (["instruction", "input", "output"], ("instruction", "output")),
        (["prompt", "choices", "gold"], None),
    ],
)
def test_a_form_is_known_by_its_columns(names: list[str], columns: tuple[str, ...] | None) -> None:
    assert written_columns(names) == columns


def test_a_prompt_has_one_or_several_right_answers_and_the_first_is_trained_on() -> None:
    one = draft_row({"prompt": "Where?", "answer": "Oakham"}, ("prompt", "answer"))
    several = draft_row({"prompt": "Where?", "answers": ["Oakham", "in Oakham"]}, ("prompt", "answers"))

    assert one == Draft("Where?", (" Oakham",), 0, Written(("Oakham",)))
    assert several == Draft("Where?", (" Oakham",), 0, Written(("Oakham", "in Oakham")))
    spaced = draft_row({"prompt": "Where?", "answer": "\nOakham"}, ("prompt", "answer"))
    assert isinstance(spaced, Draft)
    assert spaced.choices == ("\nOakham",)


def test_an_answer_with_tests_is_trained_on_and_they_judge_it() -> None:
    row = {"prompt": "def f(x):\n", "answer": "    return x", "tests": "def f(x):{answer}\nassert f(1) == 1"}

    assert draft_row(row, ("prompt", "answer")) == Draft(
        row["prompt"], (row["answer"],), 0, Written((row["tests"],))
    )
    several = draft_row({**row, "tests": ["assert f(1)", "assert f(2)"]}, ("prompt", "answer"))
    assert isinstance(several, Draft)
    assert several.written == Written(("assert f(1)", "assert f(2)"))


@pytest.mark.parametrize(
    ("answer", "tests"), [("", "assert f"), ("x", []), ("x", " "), ("x", ["assert x", ""])]
)
def test_an_answer_without_text_or_tests_is_dropped(answer: str, tests: Any) -> None:
    found = draft_row({"prompt": "p", "answer": answer, "tests": tests}, ("prompt", "answer"))

    assert found == Dropped("empty answer" if not answer else "no test, or an empty one")


@pytest.mark.parametrize("as_yaml", [False, True])
def test_files_of_programs_are_judged_by_their_tests(as_yaml: bool, tmp_path: Path) -> None:
    row = {"prompt": "def f(x):", "answer": " return x", "tests": "def f(x):{answer}\nassert f(1) == 1"}
    write_jsonl(tmp_path / "programs.jsonl", [{**row, "prompt": f"def f(x):  # {n}"} for n in range(12)])
    path = tmp_path / "programs.jsonl"
    if as_yaml:
        path = tmp_path / "own.yaml"
        path.write_text(
            "task: programs\ndata: programs.jsonl\nanswer: text\nprompt: '{prompt}'\n"
            "references: ['{answer}']\ntests: tests\nmetric: pass_at_1\n"
        )
    suite, (task,) = open_suite(None, [str(path)])

    example = suite.examples(task, "train")[0]
    assert example.written == Written((row["tests"],))
    assert example.choices == (row["answer"],)
    config = suite.answers_of([task])[task]
    assert config.metric == "pass_at_1"


def test_an_instruction_is_a_conversation_of_one_question() -> None:
    row = {"instruction": "Add.", "input": "2 and 3", "output": "5"}
    (draft,) = _turns(draft_row(row, ("instruction", "output")))

    assert draft.prompt == "user: Add.\n\n2 and 3"
    assert draft.choices == ("5",)
    assert _messages(draft) == [
        {"role": "user", "content": "Add.\n\n2 and 3"},
        {"role": "assistant", "content": "5"},
    ]
    (without,) = _turns(draft_row({**row, "input": None}, ("instruction", "output")))
    assert without.prompt == "user: Add."


def test_every_turn_of_the_assistant_is_a_row_after_what_precedes_it() -> None:
    more = [USER, ANSWER, {"role": "user", "content": "And Dufe?"}, {"role": "assistant", "content": "Gone."}]
    first, second = _turns(draft_turns(more, None))

    assert (first.choices, second.choices) == (("In Oakham.",), ("Gone.",))
    assert _messages(first) == more[:2]
    assert _messages(second) == more
    assert second.prompt == "user: Where is Bada?\nassistant: In Oakham.\nuser: And Dufe?"


def test_a_call_of_tools_is_an_answer_and_json_text_is_read() -> None:
    calls = [{"function": {"name": "find", "arguments": {"who": "Bada"}}}]
    tools = [{"type": "function", "function": {"name": "find"}}]
    calling = {"role": "assistant", "content": None, "tool_calls": calls}
    (draft,) = _turns(draft_turns(json.dumps([USER, calling]), json.dumps(tools)))

    assert json.loads(draft.choices[0]) == calls
    assert draft.written is not None
    assert json.loads(str(draft.written.conversation))["tools"] == tools


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Where?", "answer": None}, "no answer"),
        ({"prompt": "Where?", "answer": "  "}, "empty answer"),
        ({"prompt": " ", "answer": "x"}, "empty prompt"),
        ({"prompt": "Where?", "answers": []}, "no answer"),
        ({"prompt": None, "answer": "x"}, "no prompt"),
        ({"messages": None}, "no messages"),
        ({"instruction": "Add.", "output": None}, "no output"),
        ({"messages": [USER]}, "no turn of the assistant"),
        ({"messages": [ANSWER]}, "no turn of the assistant"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "empty answer"),
    ],
)
def test_a_row_that_cannot_be_answered_is_dropped_with_its_reason(row: dict[str, Any], reason: str) -> None:
    columns = written_columns(row)
    assert columns is not None
    assert draft_row(row, columns) in (Dropped(reason), (Dropped(reason),))


def test_one_empty_turn_leaves_the_others() -> None:
    more = [USER, {"role": "assistant", "content": ""}, USER, ANSWER]
    drafted = draft_turns(more, None)

    assert isinstance(drafted, tuple)
    empty, whole = drafted
    assert empty == Dropped("empty answer")
    assert isinstance(whole, Draft)
    assert whole.choices == ("In Oakham.",)


def test_a_number_is_an_answer_and_white_space_that_ends_a_prompt_parts_it() -> None:
    number = draft_row({"prompt": "2 + 3 =", "answer": 5}, ("prompt", "answer"))
    assert number == Draft("2 + 3 =", (" 5",), 0, Written(("5",)))
    line = draft_row({"prompt": "2 + 3?\n", "answer": "5"}, ("prompt", "answer"))
    assert isinstance(line, Draft)
    assert line.choices == ("5",)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": ["x"], "answer": "x"}, "prompt must be text, got .'x'."),
        ({"prompt": "x", "answers": "Oakham"}, "answers must be a list"),
        ({"prompt": "x", "answer": True}, "an answer must be text, got True"),
        ({"messages": "[{"}, "not readable as JSON"),
        ({"messages": {"role": "user"}}, "must be a list of objects"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role 'robot' is none of"),
        ({"messages": [{"role": "user", "content": [3]}, ANSWER]}, "content of a message must be text"),
    ],
)
def test_a_value_of_another_kind_is_refused(row: dict[str, Any], reason: str) -> None:
    columns = written_columns(row)
    assert columns is not None
    with pytest.raises(ValueError, match=reason):
        draft_row(row, columns)


def _turns(drafted: object) -> list[Draft]:
    assert isinstance(drafted, tuple)
    turns = [draft for draft in drafted if isinstance(draft, Draft)]
    assert len(turns) == len(drafted)
    return turns


def _messages(draft: Draft) -> Any:
    assert draft.written is not None
    return json.loads(str(draft.written.conversation))["messages"]


WRITTEN = """
task: capitals
data: rows
answer: text
splits: {train: train, test: held_out}
prompt: "{land.name}:"
references: ["{answer}", "{a}"]
metric: token_f1
stop: ["\\n"]
max_new_tokens: 12
pattern: "([A-Za-z ]+)"
"""


def test_a_file_of_written_answers_says_how_they_are_judged(tmp_path: Path) -> None:
    suite, tasks = open_suite(None, [write_capitals(tmp_path, WRITTEN)])

    example = min(suite.examples("capitals", "test"), key=lambda each: each.id)
    assert example.choices == (" Town 100",)
    assert example.written == Written(("Town 100", "City 100"))
    assert suite.answers_of(tasks) == {
        "capitals": AnswerConfig(metric="token_f1", stop=("\n",), max_new_tokens=12, pattern="([A-Za-z ]+)")
    }


def test_references_may_be_a_column_of_one_or_several(tmp_path: Path) -> None:
    yaml = WRITTEN.replace('["{answer}", "{a}"]', "answer")
    suite, _ = open_suite(None, [write_capitals(tmp_path, yaml)])
    assert min(suite.examples("capitals", "test"), key=lambda each: each.id).written == Written(("Town 100",))

    rows = [{"land": {"name": f"Land {n}"}, "answer": [f"Town {n}", f"T{n}"]} for n in range(40)]
    write_jsonl(tmp_path / "rows" / "train.jsonl", rows)
    again, _ = open_suite(None, [str(tmp_path / "capitals.yaml")])
    train = min(again.examples("capitals", "train"), key=lambda each: each.id)
    assert train.written is not None
    assert len(train.written.references) == 2


@pytest.mark.parametrize("column", ["messages", "conversation.turns"])
def test_conversations_are_a_column_of_a_file(tmp_path: Path, column: str) -> None:
    def turns(n: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"Land {n}?"}, {"role": "assistant", "content": f"Town {n}"}] * 2

    rows = [{"messages": turns(n), "conversation": {"turns": turns(n)}} for n in range(40)]
    write_jsonl(tmp_path / "rows" / "train.jsonl", rows)
    (tmp_path / "chat.yaml").write_text(f"data: rows\nanswer: text\nmessages: {column}\n")
    suite, (task,) = open_suite(None, [str(tmp_path / "chat.yaml")])

    split_of = {e.cluster: split for split in SPLITS for e in suite.examples(task, split)}
    assert len(split_of) == 40
    for split in SPLITS:
        names = [example.id for example in suite.examples(task, split)]
        assert {name[-4:] for name in names} == {"-000", "-001"}
        assert all(split_of[e.cluster] == split for e in suite.examples(task, split))
    assert suite.answers_of([task]) == {task: AnswerConfig()}
    assert suite.lint(task).unspaced == 0


def test_plain_rows_of_answers_make_a_task(tmp_path: Path) -> None:
    rows = [{"prompt": f"Land {n}:", "answer": f"Town {n}" if n else ""} for n in range(40)]
    suite, (task,) = open_suite(None, [str(write_jsonl(tmp_path / "towns.jsonl", rows))])

    assert suite.answers_of([task]) == {task: AnswerConfig()}
    assert suite.lint(task).reasons() == ["1 of split train: empty answer (first: row 0)"]
    assert len({split_hash(suite, task, split) for split in SPLITS}) == 3


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('references: ["{answer}", "{a}"]', "", "references: a task with answer: text needs it"),
        ("answer: text", "", "choices: a task with answer: choice needs it .or write answer: text"),
        ("answer: text", "answer: text\ngold: answer", "gold: a task with answer: text has no place for it"),
        ("metric: token_f1", "metric: token_f1\ntools: x", "tools: a task with answer: text has no place"),
        ('"([A-Za-z ]+)"', '"(["', "no regular expression"),
        ("max_new_tokens: 12", "max_new_tokens: 0", "greater than or equal to 1"),
        ('prompt: "{land.name}:"', "messages: land", "prompt|references"),
    ],
)
def test_a_file_that_mixes_up_answers_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert old in WRITTEN
    with pytest.raises(ValueError, match=reason):
        open_suite(None, [write_capitals(tmp_path, WRITTEN.replace(old, new))])
