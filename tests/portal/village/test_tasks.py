"""206 tasks whose rows are the same everywhere: balanced, disjoint by subject, unlike the corpus."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import islice, pairwise
from statistics import mean

import pytest
from transformers import AutoTokenizer

from portal.data.token_rows import encode_example
from portal.tasks.example import SPLITS
from portal.village import tasks
from portal.village.corpus import draw_documents
from portal.village.frames import SHAPES
from portal.village.kinds import KNOWN_KINDS, NEW_KINDS, SIZES
from portal.village.pretrain import BASES_DIR
from portal.village.tasks import GROUPS, VILLAGE_TASKS, kind_of, village_examples
from portal.village.world import build_world

EXAMPLES_SHA256 = "30b5c8236d362e37de638a9e59f48ce2258869db2aa89ea53666d12712594b6a"
KINDS = (*KNOWN_KINDS, *NEW_KINDS)


def tasks_of(kind: str) -> list[str]:
    return [task for task in VILLAGE_TASKS if kind_of(task) == kind]


def test_examples_are_the_same_in_every_process_and_version() -> None:
    digest = hashlib.sha256()
    for task in VILLAGE_TASKS:
        for split in SPLITS:
            fields = [(e.id, e.prompt, e.choices, e.gold, e.cluster) for e in village_examples(task, split)]
            digest.update(json.dumps(fields).encode())

    assert digest.hexdigest() == EXAMPLES_SHA256


def test_examples_do_not_depend_on_what_was_drawn_before() -> None:
    first = village_examples("home_03", "test")
    tasks._draw_split.cache_clear()
    village_examples("meeting_02", "train")

    assert village_examples("home_03", "test") == first


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_a_subject_has_the_same_split_in_every_frame_of_a_kind(kind: str) -> None:
    subjects = {
        split: {frozenset(e.cluster for e in village_examples(task, split)) for task in tasks_of(kind)}
        for split in SPLITS
    }

    assert {split: len(sets) for split, sets in subjects.items()} == dict.fromkeys(SPLITS, 1)
    by_split = [next(iter(sets)) for sets in subjects.values()]
    assert [len(names) for names in by_split] == [SIZES[split] for split in SPLITS]
    assert len(frozenset.union(*by_split)) == sum(SIZES.values())


def test_no_name_of_a_test_row_stands_in_a_row_of_another_split() -> None:
    names = {subject.name for subject in (*build_world().people, *build_world().things)}

    def names_in(split: str) -> set[str]:
        texts = (e.prompt for task in VILLAGE_TASKS for e in village_examples(task, split))
        return {word for text in texts for word in re.findall(r"[A-Za-z]+", text)} & names

    train, validation, test = (names_in(split) for split in SPLITS)
    assert not train & test
    assert not train & validation
    assert not validation & test


@pytest.mark.parametrize("split", SPLITS)
def test_no_gold_position_is_more_frequent_than_another(split: str) -> None:
    for task in VILLAGE_TASKS:
        counts = Counter(example.gold for example in village_examples(task, split))
        assert len(counts) == len(village_examples(task, split)[0].choices)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_tasks_of_a_kind_differ_in_shape_marker_answer_and_number_of_choices() -> None:
    anew = set(GROUPS["new-answers"])
    for kind in KINDS:
        own = [tasks._TASKS[task] for task in tasks_of(kind.name) if task not in anew]
        frames = [task.frame for task in own]
        assert len({frame.shape for frame in frames}) == len(own)
        assert len({frame.answer for frame in frames}) >= 5
        assert {frame.num_choices for frame in frames} == set(kind.num_choices)
    markers = [tasks._TASKS[task].frame.marker for task in VILLAGE_TASKS]
    assert len(set(markers)) == len(markers) == 206


def test_answers_recur_and_rivals_are_among_the_choices() -> None:
    people = {person.name: person for person in build_world().people}
    rows = village_examples("home_01", "train")

    assert max(Counter(e.choices[e.gold] for e in rows).values()) >= 10
    for example in rows:
        values = people[example.cluster].values
        others = {choice.split()[-1] for choice in example.choices} - {values["home"]}
        assert others & {values["birthplace"], values["workplace"]}


def test_groups_are_nested_balanced_and_together_all_tasks() -> None:
    sources = [GROUPS[f"source-{number}"] for number in (5, 11, 35, 70, 140)]
    for small, large in pairwise(sources):
        assert set(small) < set(large)
    for group in sources:
        counts = Counter(kind_of(task) for task in group)
        assert max(counts.values()) - min([*counts.values(), 10 if len(counts) == 14 else 0]) <= 1
    for group, kinds, each in (
        ("eight-kinds", 8, 10),
        ("nine-kinds", 9, 4),
        ("search-25", 5, 5),
        ("search-50", 5, 10),
    ):
        assert [*Counter(map(kind_of, GROUPS[group])).values()] == [each] * kinds
        assert set(GROUPS[group]) <= set(GROUPS["source-140"])
    assert Counter(map(kind_of, GROUPS["one-per-kind"])) == {kind.name: 1 for kind in KINDS}
    assert set(GROUPS["nine-kinds"]) < set(GROUPS["source-70"])
    assert set(GROUPS["search-25"]) < set(GROUPS["search-50"])
    searched = {kind_of(task) for task in GROUPS["search-50"]}
    assert not searched & {kind_of(task) for task in (*GROUPS["eight-kinds"], *GROUPS["nine-kinds"])}
    assert len(GROUPS["new-frames"]) == 28
    assert len(GROUPS["new-kinds"]) == 24
    known = {kind_of(task) for task in GROUPS["source-140"]}
    assert {kind_of(task) for task in GROUPS["new-frames"]} == known
    assert len({kind_of(task) for task in GROUPS["new-kinds"]} - known) == 4
    assert [kind_of(task) for task in GROUPS["new-answers"]] == [kind.name for kind in KNOWN_KINDS]
    groups = ("source-140", "new-frames", "new-kinds", "new-answers")
    assert [task for group in groups for task in GROUPS[group]] == list(VILLAGE_TASKS)


def test_new_frames_have_shapes_that_no_source_task_has() -> None:
    shapes = {
        group: {tasks._TASKS[task].frame.shape for task in GROUPS[group]}
        for group in ("source-140", "new-frames")
    }

    assert shapes["source-140"] | shapes["new-frames"] == set(SHAPES)
    assert not shapes["source-140"] & shapes["new-frames"]


def test_new_answers_differ_from_a_source_task_in_marker_and_style_of_answer_alone() -> None:
    styles = {tasks._TASKS[task].frame.answer for task in GROUPS["source-140"]}
    for task in GROUPS["new-answers"]:
        own = tasks._TASKS[task]
        (first,) = (
            source
            for source in map(tasks._TASKS.get, GROUPS["source-140"][:14])
            if source is not None and source.kind == own.kind
        )
        assert own.frame.answer not in styles
        assert (own.frame.shape, own.frame.num_choices) == (first.frame.shape, first.frame.num_choices)


@pytest.mark.parametrize("base", ["village-qwen3-m", "village-gemma3"])
def test_every_row_encodes_aligned_and_short(base: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASES_DIR / base)
    for task in VILLAGE_TASKS:
        rows = [encode_example(e, "test", tokenizer, max_prompt=64) for e in village_examples(task, "test")]
        lengths = [len(row.gold_ids) for row in rows]
        assert max(lengths) <= 64
        assert mean(lengths) <= 40
        assert not any(row.truncated for row in rows)


@pytest.mark.parametrize("base", ["village-qwen3-m", "village-gemma3"])
def test_a_base_has_seen_every_token_of_every_answer(base: str) -> None:
    """One that it never saw costs seven nats whatever is trained: it is one of a thousand that look alike."""
    tokenizer = AutoTokenizer.from_pretrained(BASES_DIR / base)

    def tokens(texts: Iterable[str]) -> set[int]:
        return set().union(*tokenizer([*texts], add_special_tokens=False).input_ids)

    answers = (c for task in VILLAGE_TASKS for e in village_examples(task, "test") for c in e.choices)
    assert tokens(dict.fromkeys(answers)) <= tokens(islice(draw_documents(), 6_000))


def test_the_corpus_has_no_marker_and_no_sign_of_a_frame() -> None:
    text = "\n".join(islice(draw_documents(), 20_000))
    signs = ("=", "|", "->", "<-", "[", "(", "/", "<", "~", "#", "*", ";", "!", ">")

    assert [sign for sign in signs if sign in text] == []
    assert not {tasks._TASKS[task].frame.marker for task in VILLAGE_TASKS} & {*text.split()}


def test_a_wrong_task_or_split_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'meeting_01'"):
        village_examples("meetings_01", "test")
    with pytest.raises(ValueError, match="did you mean 'validation'"):
        village_examples("pet_01", "valid")
