"""Suites that come with the package: pinned, balanced, in splits that share nothing, unlike their corpora."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from statistics import mean

import pytest
from transformers import AutoTokenizer

from portal.data.suite import Suite, examples_hash
from portal.data.suites import load_suite
from portal.data.token_rows import encode_example, encode_examples
from portal.embedded import SUITES
from portal.evaluate.text_metrics import find_metric
from portal.tasks.example import SPLITS, Example
from tools.worlds.bases import CORPORA, folder_of
from tools.worlds.village.world import build_world

HASHES = {
    "mini": "23811d6d9994ef948c8448198692c6aa5b3b77fecec68a05cc951a26f3b15991",
    "village": "47c4f5a590e595f023ca70c66bb38db958cd68996e75b86c38e889e3fae6598c",
    "ledger": "7517fa5dd46a49388c46879c87a78766d9812402f9181dc40425fd537a93bf01",
    "words": "681ce7a7d91ea524d51b9f47d40565c83a049cd2cdcc2ae7df328d6be2716ec8",
    "written-words": "14776c44407b56b758c34dda17b03a6de9b5ab19e1873df9d1c69c216c8864c7",
}
SIZES = {"mini": (256, 64, 150), "village": (448, 16, 50), "ledger": (160, 16, 50)}
LEAST = {"words": (24, 8, 16), "written-words": (40, 8, 24)}
WRITTEN = ("ledger", "written-words")
FORMS_OF_MINI = (
    "Question:", "Answer:", "Reply:", "Is it so", "True, False", "because", "therefore", "senior", "junior",
    "Shelf:", "Minus:", "Bag:", "Size =", "First =", "Last =", "odd:", "=>", "<-", "//", "|", "[", "=",
    "ally", "residence", "address", "cradle", "origin", "office", "desk", "Delight", "Disgust", "dinner:",
)  # fmt: skip
SIGNS_OF_FRAMES = ("=", "|", "->", "<-", "[", "(", "/", "<", "~", "#", "*", ";", "!", ">")


@pytest.fixture(scope="module")
def suites() -> dict[str, Suite]:
    return {name: load_suite(name) for name in SUITES}


def splits_of(suite: Suite) -> Iterator[tuple[str, list[list[Example]]]]:
    for task in suite.tasks:
        yield task, [list(suite.examples(task, split)) for split in SPLITS]


def test_examples_are_the_same_in_every_version(suites: dict[str, Suite]) -> None:
    assert {name: examples_hash(suite, suite.tasks) for name, suite in suites.items()} == HASHES


@pytest.mark.parametrize("name", SUITES)
def test_splits_have_their_sizes_and_share_no_cluster_and_no_prompt(
    suites: dict[str, Suite], name: str
) -> None:
    for task, splits in splits_of(suites[name]):
        sizes = tuple(map(len, splits))
        assert sizes == SIZES[name] if name in SIZES else all(map(int.__ge__, sizes, LEAST[name])), task
        for each in (
            [{example.cluster for example in examples} for examples in splits],
            [{example.prompt for example in examples} for examples in splits],
        ):
            assert sum(map(len, each)) == len(set.union(*each)), task
        if name == "mini":
            assert all(len({example.prompt for example in own}) == len(own) for own in splits)


@pytest.mark.parametrize("name", [name for name in SUITES if name not in WRITTEN])
def test_no_gold_position_is_more_frequent_than_another(suites: dict[str, Suite], name: str) -> None:
    for task, splits in splits_of(suites[name]):
        for examples in splits:
            counts = Counter(example.gold for example in examples)
            assert len(counts) == len(examples[0].choices), task
            assert max(counts.values()) - min(counts.values()) <= 1, task


@pytest.mark.parametrize("name", ["village", "ledger", "words"])
def test_a_subject_has_the_same_split_in_every_task_of_a_kind(suites: dict[str, Suite], name: str) -> None:
    suite, subjects = suites[name], {}
    for task, splits in splits_of(suite):
        clusters = [frozenset(example.cluster for example in examples) for examples in splits]
        assert subjects.setdefault(suite.kinds[task], clusters) == clusters
        prompts = {example.prompt for examples in splits for example in examples}
        assert len(prompts) == sum(map(len, splits))
    assert len(subjects) == {"village": 18, "ledger": 6, "words": 34}[name]


def test_no_name_of_a_test_row_of_the_village_stands_in_a_row_of_another_split(
    suites: dict[str, Suite],
) -> None:
    names = {subject.name for subject in (*build_world().people, *build_world().things)}
    found = []
    for split in SPLITS:
        texts = (
            e.prompt for task in suites["village"].tasks for e in suites["village"].examples(task, split)
        )
        found.append({word for text in texts for word in re.findall(r"[A-Za-z]+", text)} & names)
    assert sum(map(len, found)) == len(set.union(*found))


def test_answers_recur_and_rivals_are_among_the_choices(suites: dict[str, Suite]) -> None:
    people = {person.name: person for person in build_world().people}
    rows = suites["village"].examples("home_01", "train")

    assert max(Counter(e.choices[e.gold] for e in rows).values()) >= 10
    for example in rows:
        values = people[example.cluster].values
        others = {choice.split()[-1] for choice in example.choices} - {values["home"]}
        assert others & {values["birthplace"], values["workplace"]}


def kinds_in(suite: Suite, group: str) -> Counter[str]:
    return Counter(suite.kinds[task] for task in suite.groups[group])


def test_groups_of_the_village_are_nested_balanced_and_together_all_tasks(suites: dict[str, Suite]) -> None:
    suite = suites["village"]
    groups = {name: set(tasks) for name, tasks in suite.groups.items()}
    sources = ["source-5", "source-11", "source-35", "source-70", "source-140"]
    assert all(groups[small] < groups[large] for small, large in pairwise(sources))
    for group in sources:
        counts = kinds_in(suite, group)
        assert max(counts.values()) - min([*counts.values(), 10 if len(counts) == 14 else 0]) <= 1
    for group, kinds, each in (
        ("eight-kinds", 8, 10), ("nine-kinds", 9, 4), ("search-25", 5, 5), ("search-50", 5, 10),
        ("one-per-kind", 18, 1), ("new-frames", 14, 2), ("new-kinds", 4, 6), ("new-answers", 14, 1),
    ):  # fmt: skip
        assert [*kinds_in(suite, group).values()] == [each] * kinds, group
    assert groups["nine-kinds"] < groups["source-70"]
    assert groups["search-25"] < groups["search-50"] < groups["source-140"]
    assert groups["eight-kinds"] < groups["source-140"]
    known = {*kinds_in(suite, "source-140")}
    reported = {*kinds_in(suite, "eight-kinds"), *kinds_in(suite, "nine-kinds")}
    assert not reported & {*kinds_in(suite, "search-50")}
    assert {*kinds_in(suite, "new-frames")} == {*kinds_in(suite, "new-answers")} == known
    assert not {*kinds_in(suite, "new-kinds")} & known
    parts = ("source-140", "new-frames", "new-kinds", "new-answers")
    assert tuple(task for group in parts for task in suite.groups[group]) == suite.tasks


def test_groups_of_the_ledger_are_balanced_and_nested_and_new_tasks_are_in_none(
    suites: dict[str, Suite],
) -> None:
    suite = suites["ledger"]
    sizes = {"written-6": 1, "written-24": 4, "written-36": 6, "written-new": 2}
    for group, each in sizes.items():
        assert [*kinds_in(suite, group).values()] == [each] * 6
    small, middle, large, new = (set(suite.groups[group]) for group in sizes)
    assert small < middle < large
    assert large | new == {*suite.tasks}


def test_groups_of_words_are_nested_balanced_and_keep_studies_searches_and_new_relations_apart(
    suites: dict[str, Suite],
) -> None:
    suite = suites["words"]
    groups, kinds = suite.groups, {group: kinds_in(suite, group) for group in suite.groups}
    for small, large in (
        ("words-24", "words-48"), ("words-48", "words-96"), ("words-96", "words-144"),
        ("words-source-11", "words-source-35"), ("words-source-35", "words-sixteen-relations"),
    ):  # fmt: skip
        assert groups[large][: len(groups[small])] == groups[small]
    for group, number, each in (
        ("words-24", 24, 1), ("words-48", 24, 2), ("words-96", 24, 4), ("words-144", 24, 6),
        ("words-sixteen-relations", 16, 3), ("words-search-16", 8, 2), ("words-source-11", 11, 1),
        ("words-new-frames", 24, 2), ("words-new-kinds", 10, 4), ("words-one-each", 34, 1),
        ("words-new-one-each", 26, 1),
    ):  # fmt: skip
        assert [*kinds[group].values()] == [each] * number, group
    assert set(kinds["words-source-35"].values()) == {2, 3}
    known, new = {*kinds["words-144"]}, {*kinds["words-new-kinds"]}
    studies, searches = {*kinds["words-sixteen-relations"]}, {*kinds["words-search-16"]}
    assert studies | searches == known
    assert not studies & searches
    assert not known & new
    assert {*groups["words-sixteen-relations"], *groups["words-search-16"]} <= {*groups["words-144"]}
    assert {*groups["words-new-one-each"]} <= {*groups["words-new-frames"], *groups["words-new-kinds"]}
    assert {*kinds["words-new-one-each"]} == studies | new
    parts = ("words-144", "words-new-frames", "words-new-kinds")
    assert tuple(task for group in parts for task in groups[group]) == suite.tasks


@pytest.mark.parametrize("name", WRITTEN)
def test_a_right_answer_is_worth_1_and_one_of_another_row_less(suites: dict[str, Suite], name: str) -> None:
    suite = suites[name]
    for task in suite.tasks:
        answers = suite.answer_of(task)
        assert answers is not None
        measure = find_metric(answers.metric)
        written = [e.written.references for e in suite.examples(task, "test") if e.written is not None]
        assert all(measure(right, own) == 1 for own in written for right in own), task
        moved = [measure(other[0], own) for other, own in zip(written[1:], written, strict=False)]
        assert mean(moved) < 0.6, task
    assert suite.answer_of("nothing") is None


def test_subjects_of_written_words_have_the_splits_of_the_tasks_with_choices(
    suites: dict[str, Suite],
) -> None:
    for own, other in (("write_capital", "capital_01"), ("write_french", "french_01")):
        for split in SPLITS:
            there = {example.cluster for example in suites["words"].examples(other, split)}
            assert {e.cluster for e in suites["written-words"].examples(own, split)} == there


def test_sums_are_right_and_answers_are_what_their_prompts_ask_for(suites: dict[str, Suite]) -> None:
    for example in suites["ledger"].examples("count_1", "train"):
        first, second = re.findall(r"(\d+) ([+-]) (\d+) = (\d+)\.", example.choices[0])
        assert int(first[0]) + int(first[2]) == int(first[3])
        assert int(second[0]) - int(second[2]) == int(second[3]) >= 1
        assert (first[3], first[1], second[1]) == (second[0], "+", "-")
        assert re.findall(r"\d+", example.prompt) == [first[0], first[2], second[2]]
    rows = {task: suites["written-words"].examples(task, "train") for task in suites["written-words"].tasks}
    for example in rows["write_sum"]:
        one, other, total = map(int, re.findall(r"\d+", example.choices[0]))
        assert one + other == total
    for example in rows["write_forms"]:
        assert list(json.loads(example.choices[0])) == ["past", "gerund"]
    for example in rows["write_plurals"]:
        assert example.prompt.splitlines()[0].count(",") == example.choices[0].count(",") == 2
    for example in rows["write_yesterday"]:
        today = example.prompt.splitlines()[0].removeprefix("Today:")
        assert today.split()[:2] == example.choices[0].split()[:2]
        assert today != example.choices[0]


@pytest.mark.parametrize("world", ["mini", "village"])
def test_every_row_encodes_aligned_and_short(suites: dict[str, Suite], world: str) -> None:
    words = suites["words"].groups
    for base in (f"{world}-qwen3-m", f"{world}-gemma3"):
        tokenizer = AutoTokenizer.from_pretrained(folder_of(base))
        wanted = [(suites[world], suites[world].tasks)]
        if world == "mini":
            wanted.append((suites["words"], words["words-24"] + words["words-new-kinds"]))
        for suite, tasks in wanted:
            for task in tasks:
                rows = [
                    encode_example(e, "test", tokenizer, max_prompt=64) for e in suite.examples(task, "test")
                ]
                lengths = [len(row.gold_ids) for row in rows]
                assert max(lengths) <= 64
                assert mean(lengths) <= 40
                assert not any(row.truncated for row in rows)


def test_no_corpus_has_a_form_or_a_marker_of_the_tasks_of_its_world(suites: dict[str, Suite]) -> None:
    texts = {world: "\n".join(islice(draw(), 20_000)) for world, draw in CORPORA.items()}

    assert [form for form in FORMS_OF_MINI if form in texts["mini"]] == []
    assert [sign for sign in SIGNS_OF_FRAMES if sign in texts["village"]] == []
    for world in ("village", "ledger"):
        markers = set().union(*(markers_of(suites[world], task) for task in suites[world].tasks))
        assert len(markers) == len(suites[world].tasks)
        assert not markers & {*re.findall(r"\w+", texts[world])}


def markers_of(suite: Suite, task: str) -> set[str]:
    """The words without a vowel that stand in each prompt of the task."""
    prompts = [
        set(re.findall(r"\b[bcdfghjklmnpqrstvwxz]{3}\b", e.prompt)) for e in suite.examples(task, "test")
    ]
    return set.intersection(*prompts)


@pytest.mark.parametrize("base", ["village-qwen3-m", "village-gemma3", "ledger-qwen3-s", "ledger-gemma3"])
def test_a_base_has_seen_every_token_of_every_answer(suites: dict[str, Suite], base: str) -> None:
    """One that it never saw costs seven nats whatever is trained: it is one of a thousand that look alike.

    But for the space before a record of the ledger, which stands at the start of a document in its corpus.
    """
    world = base.partition("-")[0]
    suite, tokenizer = suites[world], AutoTokenizer.from_pretrained(folder_of(base))

    def tokens(texts: Iterable[str]) -> set[int]:
        return set().union(*tokenizer([*texts], add_special_tokens=False).input_ids)

    documents = 6_000 if world == "village" else 20_000
    seen = tokens(islice(CORPORA[world](), documents)) | {tokenizer.eos_token_id}
    if world == "ledger":
        seen.add(tokenizer(" {", add_special_tokens=False).input_ids[0])
    answers = (c for task in suite.tasks for e in suite.examples(task, "test") for c in e.choices)
    assert tokens(dict.fromkeys(answers)) <= seen


def test_written_answers_of_the_ledger_end_within_their_limit(suites: dict[str, Suite]) -> None:
    suite = suites["ledger"]
    for base in ("ledger-qwen3-s", "ledger-gemma3"):
        tokenizer = AutoTokenizer.from_pretrained(folder_of(base))
        for task, answers in suite.answers_of(suite.groups["written-6"]).items():
            rows = encode_examples(
                ((e, "test") for e in suite.examples(task, "test")), tokenizer, max_prompt=256
            )
            assert max(len(row.choices[0]) for row in rows) <= answers.max_new_tokens, task


def test_a_wrong_task_or_split_names_the_nearest(suites: dict[str, Suite]) -> None:
    with pytest.raises(ValueError, match="did you mean 'pronoun'"):
        suites["mini"].examples("pronouns", "test")
    with pytest.raises(ValueError, match="unknown split 'valid'; did you mean 'validation'"):
        suites["ledger"].examples("home_1", "valid")
