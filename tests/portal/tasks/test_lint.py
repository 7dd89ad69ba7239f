"""What is counted in the rows of a task, and what a user is told of it."""

import pytest

from portal.tasks.example import Example
from portal.tasks.lint import Lint


def example(
    name: str,
    *,
    cluster: str | None = None,
    prompt: str = "Yes?",
    choices: tuple[str, str] = (" yes", " no"),
    contexts: tuple[str, str] | None = None,
) -> Example:
    return Example("task", name, prompt, choices, 0, cluster or name, contexts)


def compared(train: list[Example], test: list[Example]) -> Lint:
    lint = Lint()
    lint.compare({"train": train, "validation": [], "test": test})
    return lint


@pytest.mark.parametrize(
    ("train", "test", "shared"),
    [
        ({"0": None, "1": None}, {"0": None, "1": None}, 0),  # ids numbered anew in each split
        ({"0": "a", "1": "b"}, {"0": "a", "1": "c"}, 1),
        ({"q": None, "r": None}, {"q-again": "q", "s": None}, 1),  # a cluster with the name of its first row
        ({"q-again": "q"}, {"q": "q"}, 1),
        ({"0": "a"}, {"a": None}, 1),
    ],
)
def test_a_cluster_is_shared_when_a_row_names_it_that_is_not_its_own(
    train: dict[str, str | None], test: dict[str, str | None], shared: int
) -> None:
    lint = compared(*([example(n, cluster=c) for n, c in rows.items()] for rows in (train, test)))

    assert lint.shared_clusters == shared


@pytest.mark.parametrize(
    ("row", "count"),
    [
        (example("a"), 0),
        (example("a", choices=(" yes", "no")), 1),
        (example("a", choices=("yes", "no")), 1),
        (example("a", choices=("yes", "no"), prompt="Yes?\n"), 0),
        (example("a", choices=("yes", "no"), contexts=("Yes? a ", "Yes? b ")), 0),
        (example("a", choices=("yes", "no"), contexts=("Yes? a ", "Yes? b")), 1),
    ],
)
def test_a_choice_that_no_white_space_parts_from_its_prompt_is_counted(row: Example, count: int) -> None:
    lint = compared([row], [])

    assert lint.unspaced == lint.to_json()["choices_without_space"] == count
    told = "rows with a choice that does not start with white space: 1; its tokens"
    assert [remark.startswith(told) for remark in lint.remarks()] == [True] * count


def test_dropped_rows_are_told_by_split_and_reason_with_the_first_of_them() -> None:
    lint = Lint()
    for index in (7, 9):
        lint.drop("train", "no label", index)
    lint.drop("dev", "no label", 2)

    assert lint.remarks() == [
        "1 of split dev: no label (first: row 2)",
        "2 of split train: no label (first: row 7)",
    ]
    assert lint.to_json()["dropped"][1] == {"split": "train", "reason": "no label", "rows": 2, "first": 7}


def test_rows_that_no_split_reads_are_told() -> None:
    lint = Lint(unread={"dev.jsonl": 12})

    assert lint.remarks() == ["no split reads the rows of dev.jsonl: 12"]
    assert lint.to_json()["unread"] == {"dev.jsonl": 12}
