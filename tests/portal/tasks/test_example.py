"""Examples and descriptions of tasks, and what is counted in their rows and said of it."""

from collections import defaultdict

import pytest

from portal.data.suites import load_suite
from portal.tasks.example import Descriptions, Example, Lint, describe

WORDINGS = ("its sum", "the total", "what it adds up to", "all of it", "the grand total", "how much it is")


def test_an_example_that_cannot_be_scored_is_refused_naming_task_and_example() -> None:
    for prompt, choices, gold, message in (
        ("", (" a", " b"), 0, "the prompt is empty"),
        ("q", (" a",), 0, "at least 2"),
        ("q", (" a", "  "), 0, "a choice is empty"),
        ("q", (" a", " a"), 0, "two choices are equal"),
        ("q", (" a", " b"), 2, "gold index 2 is outside 0..1"),
        ("q", (" a", " b"), -1, "gold index -1"),
    ):
        with pytest.raises(ValueError, match=f"task 'colours', example '7': .*{message}"):
            Example("colours", "7", prompt, choices, gold, "c")


def test_every_task_has_eight_phrasings_and_four_of_its_kind_alone_that_are_held_out() -> None:
    for name in ("mini", "village", "words"):
        suite, kinds = load_suite(name), defaultdict(set)
        for task in suite.tasks:
            found = suite.descriptions[task]
            assert (len(set(found.phrasings)), len(set(found.held_out))) == (8, 4)
            assert not set(found.phrasings) & set(found.held_out)
            for text in (*found.phrasings, *found.held_out):
                kinds[text].add(suite.kinds.get(task, task))
        assert {len(own) for own in kinds.values()} == {1}


def test_held_out_phrasings_have_wordings_of_their_own_and_all_the_form_of_the_choices() -> None:
    plain, formed = describe("two numbers", WORDINGS, "{a}"), describe("two numbers", WORDINGS, "it is {a}")

    assert all(any(words in text for words in WORDINGS[:4]) for text in plain.phrasings)
    assert all(any(words in text for words in WORDINGS[4:]) for text in plain.held_out)
    assert not any(words in text for words in WORDINGS[:4] for text in plain.held_out)
    for one, other in ((plain.phrasings, formed.phrasings), (plain.held_out, formed.held_out)):
        assert tuple(f"{text} The choices look like this: it is ..." for text in one) == other


def test_seeds_draw_held_out_phrasings_in_turn_or_known_ones_where_none_is_held_out() -> None:
    some, none = Descriptions(("a", "b"), ("c", "d")), Descriptions(("a", "b"))

    assert [some.drawn(seed) for seed in range(3)] == ["c", "d", "c"]
    assert [none.drawn(seed) for seed in range(3)] == ["a", "b", "a"]


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


def test_a_cluster_is_shared_when_a_row_names_it_that_is_not_its_own() -> None:
    splits: list[tuple[dict[str, str | None], dict[str, str | None], int]] = [
        ({"0": None, "1": None}, {"0": None, "1": None}, 0),  # ids numbered anew in each split
        ({"0": "a", "1": "b"}, {"0": "a", "1": "c"}, 1),
        ({"q": None, "r": None}, {"q-again": "q", "s": None}, 1),  # a cluster with the name of its first row
        ({"q-again": "q"}, {"q": "q"}, 1),
        ({"0": "a"}, {"a": None}, 1),
    ]
    for train, test, shared in splits:
        lint = compared(*([example(n, cluster=c) for n, c in rows.items()] for rows in (train, test)))
        assert lint.shared_clusters == shared


def test_a_choice_that_no_white_space_parts_from_its_prompt_is_counted() -> None:
    told = "rows with a choice that does not start with white space: 1; its tokens"
    unspaced = ("yes", "no")
    for row, count in (
        (example("a"), 0),
        (example("a", choices=(" yes", "no")), 1),
        (example("a", choices=unspaced), 1),
        (example("a", choices=unspaced, prompt="Yes?\n"), 0),
        (example("a", choices=unspaced, contexts=("Yes? a ", "Yes? b ")), 0),
        (example("a", choices=unspaced, contexts=("Yes? a ", "Yes? b")), 1),
    ):
        lint = compared([row], [])
        assert lint.unspaced == lint.to_json()["choices_without_space"] == count
        assert [remark.startswith(told) for remark in lint.remarks()] == [True] * count


def test_dropped_and_unread_rows_are_told_by_split_and_reason_with_the_first_of_them() -> None:
    lint = Lint(unread={"dev.jsonl": 12})
    for split, index in (("train", 7), ("train", 9), ("dev", 2)):
        lint.drop(split, "no label", index)

    assert lint.remarks() == [
        "1 of split dev: no label (first: row 2)",
        "2 of split train: no label (first: row 7)",
        "no split reads the rows of dev.jsonl: 12",
    ]
    found = lint.to_json()
    assert found["dropped"][1] == {"split": "train", "reason": "no label", "rows": 2, "first": 7}
    assert found["unread"] == {"dev.jsonl": 12}
