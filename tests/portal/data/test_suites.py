"""Suites: embedded ones are pinned, balanced and cleanly split; faults of a folder name file and row."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice, product
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from portal.data.suites import NAMED_TASKS, Suite, examples_hash, load_suite, open_suite
from portal.data.token_rows import encode_examples
from portal.embedded import SUITES
from portal.evaluate.text_metrics import find_metric
from portal.tasks.example import SPLITS
from tools.worlds.bases import CORPORA, folder_of
from tools.worlds.village.world import build_world

SIZES = {"mini": (256, 64, 150), "village": (448, 16, 50), "ledger": (160, 16, 50)}
LEAST = {"words": (24, 8, 16), "written-words": (40, 8, 24)}
KINDS = {"village": 18, "ledger": 6, "words": 34}
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


@pytest.mark.parametrize("name", SUITES)
def test_splits_have_their_sizes_and_share_nothing_and_no_gold_position_is_more_frequent_than_another(
    suites: dict[str, Suite], name: str
) -> None:
    suite, subjects = suites[name], {}
    for task in suite.tasks:
        splits = [suite.examples(task, split) for split in SPLITS]
        sizes = tuple(map(len, splits))
        clusters = [frozenset(example.cluster for example in examples) for examples in splits]
        prompts = [{example.prompt for example in examples} for examples in splits]
        assert sizes == SIZES[name] if name in SIZES else all(map(int.__ge__, sizes, LEAST[name])), task
        for each in (clusters, prompts):
            assert sum(map(len, each)) == len(frozenset().union(*each)), task
        if name != "written-words":  # its rows may ask for one thing twice
            assert tuple(map(len, prompts)) == sizes, task
        for examples in splits if name not in WRITTEN else ():
            counts = Counter(example.gold for example in examples)
            assert len(counts) == len(examples[0].choices), task
            assert max(counts.values()) - min(counts.values()) <= 1, task
        # a subject has the same split in every task of a kind
        if name in KINDS:
            assert subjects.setdefault(suite.kinds[task], clusters) == clusters, task
    assert len(subjects) == KINDS.get(name, 0)


def test_no_name_of_a_test_row_of_the_village_stands_in_a_row_of_another_split(
    suites: dict[str, Suite],
) -> None:
    names = {subject.name for subject in (*build_world().people, *build_world().things)}
    suite, found = suites["village"], []
    for split in SPLITS:
        text = "\n".join(e.prompt for task in suite.tasks for e in suite.examples(task, split))
        found.append({*re.findall(r"[A-Za-z]+", text)} & names)
    assert sum(map(len, found)) == len(set.union(*found))


def test_answers_recur_and_rivals_are_among_the_choices(suites: dict[str, Suite]) -> None:
    people = {person.name: person for person in build_world().people}
    rows = suites["village"].examples("home_01", "train")

    assert max(Counter(e.choices[e.gold] for e in rows).values()) >= 10
    for example in rows:
        values = people[example.cluster].values
        others = {choice.split()[-1] for choice in example.choices} - {values["home"]}
        assert others & {values["birthplace"], values["workplace"]}


def test_searches_studies_and_new_tasks_have_kinds_apart(suites: dict[str, Suite]) -> None:
    def kinds(name: str, *groups: str) -> set[str]:
        suite = suites[name]
        return {suite.kinds[task] for group in groups for task in suite.groups[group]}

    known = kinds("village", "source-140")
    assert not kinds("village", "eight-kinds", "nine-kinds") & kinds("village", "search-50")
    assert kinds("village", "new-frames") == kinds("village", "new-answers") == known
    assert not kinds("village", "new-kinds") & known
    known, new = kinds("words", "words-144"), kinds("words", "words-new-kinds")
    studies, searches = kinds("words", "words-sixteen-relations"), kinds("words", "words-search-16")
    assert studies | searches == known
    assert not studies & searches
    assert not known & new
    assert kinds("words", "words-new-one-each") == studies | new
    groups = suites["words"].groups
    assert {*groups["words-new-one-each"]} <= {*groups["words-new-frames"], *groups["words-new-kinds"]}


def test_a_right_answer_is_worth_1_and_one_of_another_row_less(suites: dict[str, Suite]) -> None:
    for suite, task in ((suites[name], task) for name in WRITTEN for task in suites[name].tasks):
        answers = suite.answer_of(task)
        assert answers is not None
        measure = find_metric(answers.metric)
        written = [e.written.references for e in suite.examples(task, "test") if e.written is not None]
        assert all(measure(right, own) == 1 for own in written for right in own), task
        moved = [measure(other[0], own) for other, own in zip(written[1:], written, strict=False)]
        assert mean(moved) < 0.6, task
    assert suites["ledger"].answer_of("nothing") is None


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


@pytest.mark.parametrize("world", ["mini", "village", "ledger"])
def test_every_row_encodes_aligned_and_short_and_answers_end_within_their_limit(
    suites: dict[str, Suite], world: str
) -> None:
    suite, words = suites[world], suites["words"]
    wanted = [(suite, task) for task in suite.groups.get("written-6", suite.tasks)]
    if world == "mini":
        wanted += [(words, task) for task in words.groups["words-24"] + words.groups["words-new-kinds"]]
    for base in (f"{world}-gemma3", f"{world}-qwen3-{'s' if world == 'ledger' else 'm'}"):
        tokenizer = AutoTokenizer.from_pretrained(folder_of(base))
        for own, task in wanted:
            most, answers = 64 if world != "ledger" else 256, own.answer_of(task)
            examples = ((example, "test") for example in own.examples(task, "test"))
            rows = encode_examples(examples, tokenizer, max_prompt=most)
            assert not any(row.truncated for row in rows), task
            if answers is not None:
                assert max(len(row.choices[0]) for row in rows) <= answers.max_new_tokens, task
            else:
                lengths = [len(row.gold_ids) for row in rows]
                assert max(lengths) <= 64, task
                assert mean(lengths) <= 40, task


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


def test_a_base_has_seen_every_token_of_every_answer(suites: dict[str, Suite]) -> None:
    """One that it never saw costs seven nats whatever is trained: it is one of a thousand that look alike.

    But for the space before a record of the ledger, which stands at the start of a document in its corpus.
    """
    for world, number, names in (
        ("village", 6_000, ("village-qwen3-m", "village-gemma3")),
        ("ledger", 20_000, ("ledger-qwen3-s", "ledger-gemma3")),
    ):
        suite, documents = suites[world], [*islice(CORPORA[world](), number)]
        examples = (e for task in suite.tasks for e in suite.examples(task, "test"))
        answers = [*dict.fromkeys(choice for example in examples for choice in example.choices)]
        for tokenizer in (AutoTokenizer.from_pretrained(folder_of(base)) for base in names):
            seen, wanted = (
                set().union(*tokenizer(texts, add_special_tokens=False).input_ids)
                for texts in (documents, answers)
            )
            if world == "ledger":
                seen.add(tokenizer(" {", add_special_tokens=False).input_ids[0])
            assert wanted <= seen | {tokenizer.eos_token_id}


ROWS: list[dict[str, Any]] = [
    {"prompt": "1 + 1 =", "choices": [" 2", " 3"], "gold": 0, "id": "b", "cluster": "easy"},
    {
        "prompt": "two\u2028lines\x85?",
        "choices": [" ä", " no", " maybe"],
        "gold": 2,
        "id": "a",
        "cluster": "hard",
    },
]
BARE = [{key: row[key] for key in ("prompt", "choices", "gold")} for row in ROWS]


def write_jsonl(path: Path, records: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(text, encoding="utf-8")


def make_suite(folder: Path, records: list[Any] = ROWS, *, tasks: Sequence[str] = ("sums",)) -> Suite:
    for task in tasks:
        for split in SPLITS:
            write_jsonl(folder / task / f"{split}.jsonl", records)
    return load_suite(str(folder))


def test_a_folder_of_jsonl_or_parquet_files_is_a_suite(tmp_path: Path) -> None:
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "README.md").write_text("not a task")
    suite = make_suite(tmp_path / "lines", tasks=("adds", "sums"))

    assert (suite.name, suite.prompt_set) == (str(tmp_path / "lines"), "verbatim")
    assert suite.tasks == suite.choose(None) == ("adds", "sums")
    first, second = suite.examples("sums", "train")
    assert (first.task, first.id, first.prompt) == ("sums", "b", "1 + 1 =")
    assert (set(first.choices), first.choices[first.gold]) == ({" 2", " 3"}, " 2")
    assert (second.prompt, set(second.choices)) == ("two\u2028lines\x85?", {" ä", " no", " maybe"})
    assert (second.choices[second.gold], second.cluster) == (" maybe", "hard")

    (tmp_path / "columns" / "sums").mkdir(parents=True)
    for split in SPLITS:
        pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "columns" / "sums" / f"{split}.parquet")
    columns = load_suite(str(tmp_path / "columns"))
    assert columns.examples("sums", "test") == suite.examples("sums", "test")
    assert examples_hash(columns, ["sums"]) == examples_hash(suite, ["sums"])


def test_rows_without_id_and_cluster_are_numbered_and_their_own_cluster(tmp_path: Path) -> None:
    for name, rows in (("absent", BARE), ("null", [row | {"id": None, "cluster": None} for row in BARE])):
        examples = make_suite(tmp_path / name, rows).examples("sums", "train")
        assert [(example.id, example.cluster) for example in examples] == [("0000000",) * 2, ("0000001",) * 2]


def test_a_file_in_the_folder_names_the_kinds_of_its_tasks_and_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "kinds.yaml"
    assert make_suite(tmp_path, tasks=("adds", "sums")).kinds == {}
    path.write_text("sums: arithmetic\n")
    assert load_suite(str(tmp_path)).kinds == {"sums": "arithmetic"}

    for content, message in {
        "sum: arithmetic": "the folder has no task 'sum'; did you mean 'sums'",
        "sums: 3": "sums: a kind is a word, got 3",
        "sums: two words": "sums: 'two words' is no kind name",
        "- sums": "not a mapping of keys to values",
    }.items():
        path.write_text(f"{content}\n")
        with pytest.raises(ValueError) as caught:
            load_suite(str(tmp_path))
        assert str(caught.value).startswith(f"{path}: {message}")


def test_a_malformed_row_is_refused_naming_file_and_row(tmp_path: Path) -> None:
    path = tmp_path / "sums" / "validation.jsonl"
    records: list[tuple[Any, str]] = [
        ([], ": not readable as jsonl (line 2: not an object with named columns)"),
        (ROWS[0] | {"prompt": None}, ", row 1: 'prompt' must be a str, got None"),
        ({"choices": [" 2", " 3"], "gold": 0}, ", row 1: 'prompt' must be a str, got None"),
        (ROWS[0] | {"choices": " 2"}, ", row 1: 'choices' must be a list, got ' 2'"),
        (ROWS[0] | {"choices": [" 2", 3]}, ", row 1: every choice must be text, got [' 2', 3]"),
        (ROWS[0] | {"gold": "0"}, ", row 1: 'gold' must be a int, got '0'"),
        (ROWS[0] | {"gold": True}, ", row 1: 'gold' must be a int, got True"),
        (ROWS[0] | {"gold": 2}, ", row 1: task 'sums', example 'b': gold index 2 is outside 0..1"),
        (ROWS[1], ": two rows have the same id"),
    ]
    for record, message in records:
        suite = make_suite(tmp_path, [ROWS[1], record])
        with pytest.raises(ValueError) as caught:
            suite.examples("sums", "validation")
        assert str(caught.value).startswith(f"{path}{message}")
        assert "\n" not in str(caught.value)


def test_files_that_are_no_rows_and_folders_that_are_no_suite_are_refused_by_name(tmp_path: Path) -> None:
    row = json.dumps(ROWS[0]).encode() + b"\n"
    for number, (name, content, message) in enumerate(
        (
            ("train.jsonl", b"\xff\xfe", "train.jsonl: not readable as "),
            ("train.parquet", b"PAR1 no table", "train.parquet: not readable as "),
            ("train.jsonl", row, r"sums: no validation.parquet, validation-\*.parquet or validation.jsonl"),
            ("test.jsonl", row, r"no TASK/train.jsonl or TASK/train.parquet"),
            ("train.csv", b"a,b\n", r"train.csv: rows are read from .* convert it with: python"),
        )
    ):
        (tmp_path / str(number) / "sums").mkdir(parents=True)
        (tmp_path / str(number) / "sums" / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_suite(str(tmp_path / str(number))).lint("sums")


def test_an_unknown_suite_task_or_split_is_refused_with_the_nearest_name(
    suites: dict[str, Suite], tmp_path: Path
) -> None:
    suite = make_suite(tmp_path)
    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: load_suite("mimi"), "unknown suite 'mimi'; did you mean 'mini'"),
        (lambda: suite.examples("sum", "train"), r"has no task 'sum' .*; did you mean 'sums'"),
        (lambda: suite.choose(["sum"]), r"has no task 'sum' .*; did you mean 'sums'"),
        (lambda: suite.choose(["rows"]), r"\(if it comes from a task file.*--tasks rows.jsonl"),
        (lambda: suite.choose(["sums", "sums"]), "named twice: sums, sums"),
        (lambda: suites["mini"].examples("pronouns", "test"), "did you mean 'pronoun'"),
        (lambda: suites["ledger"].examples("home_1", "valid"), "'valid'; did you mean 'validation'"),
    ]
    for refused, message in refusals:
        with pytest.raises(ValueError, match=message):
            refused()


def test_doubtful_rows_are_counted_and_the_same_ones_whenever_they_are_looked_for(tmp_path: Path) -> None:
    named, bare = make_suite(tmp_path / "named"), make_suite(tmp_path / "bare", BARE)
    write_jsonl(tmp_path / "bare" / "sums" / "dev.jsonl", BARE)
    stripped = [row | {"choices": [choice.strip() for choice in row["choices"]]} for row in ROWS]

    assert named.lint("sums").counts() == named.lint("sums").counts() == (0, 0, 2, 0, 2)
    assert (bare.lint("sums").shared_clusters, bare.lint("sums").repeated) == (0, 2)
    assert bare.lint("sums").unread == {str(tmp_path / "bare" / "sums" / "dev.jsonl"): 2}
    assert named.lint("sums").unspaced == 0
    assert make_suite(tmp_path / "stripped", stripped).lint("sums").unspaced == 6


def test_the_suite_is_the_one_that_has_the_named_task_or_group() -> None:
    every = [load_suite(name) for name in NAMED_TASKS]
    names = [name for suite in every for name in (*suite.tasks, *suite.groups)]
    named = {"fact_qa": "mini", "source-11": "village", "words-24": "words", "cb": "portal14"}

    assert len(set(names)) == len(names)
    assert {name: open_suite(None, [name])[0].name for name in named} == named


def test_the_hash_of_the_examples_is_of_every_field_of_every_row_in_whatever_order(tmp_path: Path) -> None:
    suite = make_suite(tmp_path / "one", tasks=("adds", "sums"))
    turned = make_suite(tmp_path / "two", ROWS[::-1], tasks=("adds", "sums"))
    before = examples_hash(suite, ["sums"])

    assert suite.choose(["sums", "adds"]) == ("sums", "adds")
    assert examples_hash(suite, ["adds", "sums"]) == examples_hash(turned, ["sums", "adds"]) != before
    (tmp_path / "one" / "kinds.yaml").write_text("sums: arithmetic\n")
    assert examples_hash(load_suite(str(tmp_path / "one")), ["sums"]) == before
    changes: tuple[dict[str, Any], ...] = (
        {"prompt": "1 + 2 ="}, {"choices": [" 2", " 4"]}, {"choices": [" 3", " 2"]}, {"gold": 1},
        {"cluster": "other"}, {"id": "c"},
    )  # fmt: skip
    for split, change in product(SPLITS, changes):
        make_suite(tmp_path / "one")
        write_jsonl(tmp_path / "one" / "sums" / f"{split}.jsonl", [ROWS[0] | change, ROWS[1]])
        assert examples_hash(load_suite(str(tmp_path / "one")), ["sums"]) != before
