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


def test_test_rows_of_every_task_are_there(tmp_path: Path) -> None:
    suite, tasks = load_suite("mini"), ("counting", "fact_qa")

    record_questions(suite, tasks, tmp_path, data_hash="a" * 64)

    assert read_table(questions_path(tmp_path, "a" * 64), QUESTIONS).to_pylist() == [
        {
            "task": task,
            "example": example.id,
            "prompt": example.prompt[-MOST_PROMPT_CHARS:],
            "choices": list(example.choices),
        }
        for task in tasks
        for example in suite.examples(task, "test")
    ]


def test_texts_are_cut_and_have_what_tells_choices_apart_and_are_made_once(tmp_path: Path) -> None:
    prompt, choice = "x" * 1000 + " the end", " start" + "y" * 1000
    contexts = ("He saw me. I ", "He saw you. You ")
    suite = OneTask(
        Example("t", "long", prompt, (choice, " b"), 0, "e"),
        Example("t", "shared", "He saw ", ("ran.", "ran."), 1, "e", contexts=contexts),
        Example("t", "written", "say it", (" it",), 0, "e", written=Written((" it",))),
    )
    for _ in range(2):
        record_questions(suite, ["t"], tmp_path, data_hash="b")

    assert suite.reads == 1
    long, shared = read_table(questions_path(tmp_path, "b"), QUESTIONS).to_pylist()  # written ones: elsewhere
    assert long["prompt"] == prompt[-MOST_PROMPT_CHARS:]
    assert long["choices"] == [choice[:MOST_CHOICE_CHARS], " b"]
    assert shared["choices"] == ["me. I ran.", "you. You ran."]
