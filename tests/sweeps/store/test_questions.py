"""The texts of test rows are written once per data, cut to what people look at."""

from pathlib import Path

from portal.data.suites import load_suite
from portal.results import QUESTIONS, read_table
from portal.tasks.example import Example, Written
from sweeps.store.questions import MOST_CHOICE_CHARS, MOST_PROMPT_CHARS, questions_path, record_questions


class OneTask:
    """A suite of one task: of the test rows given."""

    name = prompt_set = "own"

    def __init__(self, *examples: Example) -> None:
        self.own, self.reads = examples, 0

    def examples(self, task: str, split: str) -> tuple[Example, ...]:
        assert (task, split) == ("t", "test")
        self.reads += 1
        return self.own


def rows_of(out: Path, data_hash: str) -> list[dict]:
    return read_table(questions_path(out, data_hash), QUESTIONS).to_pylist()


def test_test_rows_of_every_task_are_there(tmp_path: Path) -> None:
    suite, tasks = load_suite("mini"), ("counting", "fact_qa")

    record_questions(suite, tasks, tmp_path, data_hash="a" * 64)

    found = {(row["task"], row["example"]): row for row in rows_of(tmp_path, "a" * 64)}
    examples = [example for task in tasks for example in suite.examples(task, "test")]
    assert set(found) == {(example.task, example.id) for example in examples}
    for example in examples:
        assert found[example.task, example.id]["prompt"] == example.prompt[-MOST_PROMPT_CHARS:]
        assert found[example.task, example.id]["choices"] == list(example.choices)


def test_long_texts_keep_the_end_of_a_prompt_and_the_start_of_a_choice(tmp_path: Path) -> None:
    prompt, choice = "x" * 1000 + " the end", " start" + "y" * 1000
    record_questions(
        OneTask(Example("t", "e", prompt, (choice, " b"), 0, "e")), ["t"], tmp_path, data_hash="b"
    )

    (row,) = rows_of(tmp_path, "b")
    assert row["prompt"] == prompt[-MOST_PROMPT_CHARS:]
    assert row["choices"] == [choice[:MOST_CHOICE_CHARS], " b"]


def test_what_tells_choices_apart_before_a_shared_ending_is_part_of_them(tmp_path: Path) -> None:
    example = Example(
        "t", "e", "He saw ", ("ran.", "ran."), 1, "e", contexts=("He saw me. I ", "He saw you. You ")
    )
    record_questions(OneTask(example), ["t"], tmp_path, data_hash="c")

    assert rows_of(tmp_path, "c")[0]["choices"] == ["me. I ran.", "you. You ran."]


def test_written_answers_are_left_to_their_own_table(tmp_path: Path) -> None:
    example = Example("t", "e", "say it", (" it",), 0, "e", written=Written((" it",)))
    record_questions(OneTask(example), ["t"], tmp_path, data_hash="d")

    assert rows_of(tmp_path, "d") == []


def test_the_table_of_the_same_data_is_not_made_again(tmp_path: Path) -> None:
    suite = OneTask(Example("t", "e", "who?", (" a", " b"), 0, "e"))
    for _ in range(2):
        record_questions(suite, ["t"], tmp_path, data_hash="e")

    assert suite.reads == 1
