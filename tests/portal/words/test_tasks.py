"""Tasks of the suite: the same rows everywhere, in splits that share no subject, balanced and short."""

import hashlib
import json
from collections import Counter
from itertools import pairwise

import pytest
from transformers import AutoTokenizer

from portal.data.suites import load_suite
from portal.data.token_rows import encode_example
from portal.mini.pretrain import BASES_DIR
from portal.tasks.example import SPLITS
from portal.words import tasks
from portal.words.relations import KNOWN_RELATIONS, NEW_RELATIONS
from portal.words.tasks import GROUPS, WORD_TASKS, kind_of, word_examples

EXAMPLES_SHA256 = "8211fb3ab0f69eb32523d43cb448be2eb96367498052d2cf515351e555a4c655"


def test_examples_are_the_same_in_every_process_and_version() -> None:
    fields = [
        (e.id, e.prompt, e.choices, e.gold, e.cluster)
        for task in sorted(WORD_TASKS)
        for split in sorted(SPLITS)
        for e in word_examples(task, split)
    ]

    assert hashlib.sha256(json.dumps(fields).encode()).hexdigest() == EXAMPLES_SHA256


def test_examples_that_are_drawn_again_are_equal() -> None:
    first = [word_examples(task, "test") for task in GROUPS["words-24"]]
    tasks._draw_split.cache_clear()

    assert [word_examples(task, "test") for task in GROUPS["words-24"]] == first


@pytest.mark.parametrize("task", GROUPS["words-48"] + GROUPS["words-new-kinds"])
def test_splits_share_no_subject_and_no_prompt_and_no_gold_position_is_more_frequent(task: str) -> None:
    splits = {split: word_examples(task, split) for split in SPLITS}

    for split, examples in splits.items():
        counts = Counter(example.gold for example in examples)
        assert len(counts) == len(examples[0].choices)
        assert max(counts.values()) - min(counts.values()) <= 1
        for other in set(SPLITS) - {split}:
            assert not {e.cluster for e in examples} & {e.cluster for e in splits[other]}
            assert not {e.prompt for e in examples} & {e.prompt for e in splits[other]}


def test_tasks_of_a_relation_have_the_same_subjects_and_answers_in_different_prompts() -> None:
    by_relation: dict[str, list[str]] = {}
    for task in WORD_TASKS:
        by_relation.setdefault(kind_of(task), []).append(task)

    for members in by_relation.values():
        clusters = [{e.cluster for e in word_examples(task, "test")} for task in members]
        prompts = [{e.prompt for e in word_examples(task, "test")} for task in members]
        assert len(members) >= 4
        assert all(each == clusters[0] for each in clusters)
        assert sum(map(len, prompts)) == len(set.union(*prompts))


def test_tasks_differ_in_frame_answer_style_and_number_of_choices() -> None:
    frames = [task.frame for task in tasks._TASKS.values()]

    assert len({frame.marker for frame in frames}) == len(frames)
    assert {frame.num_choices for frame in frames} == {3, 4, 5}
    for relation in KNOWN_RELATIONS:
        own = [task.frame for task in tasks._TASKS.values() if task.relation is relation]
        assert len({frame.shape for frame in own}) == len(own) == 8
        assert len({frame.answer for frame in own}) >= 4


def test_source_groups_are_nested_and_have_equally_many_tasks_of_every_relation() -> None:
    sources = [GROUPS[f"words-{number}"] for number in (24, 48, 96, 144)]

    for smaller, larger in pairwise(sources):
        assert larger[: len(smaller)] == smaller
    for group in sources:
        assert set(Counter(map(kind_of, group)).values()) == {len(group) // len(KNOWN_RELATIONS)}


def test_tasks_of_studies_and_of_searches_share_no_relation() -> None:
    studies, searches = GROUPS["words-sixteen-relations"], GROUPS["words-search-16"]
    relations = [{kind_of(task) for task in group} for group in (studies, searches)]

    assert [len(group) for group in (studies, searches)] == [48, 16]
    assert relations[0] | relations[1] == {relation.name for relation in KNOWN_RELATIONS}
    assert not relations[0] & relations[1]
    assert set(studies) | set(searches) <= set(GROUPS["words-144"])


def test_small_sources_are_of_the_relations_of_studies_with_as_many_tasks_of_each() -> None:
    small, large = GROUPS["words-source-11"], GROUPS["words-source-35"]

    assert GROUPS["words-sixteen-relations"][:35] == large
    assert large[:11] == small
    assert set(Counter(map(kind_of, small)).values()) == {1}
    assert set(Counter(map(kind_of, large)).values()) == {2, 3}


def test_one_new_task_of_each_is_of_a_relation_of_studies_or_a_new_one() -> None:
    tasks = GROUPS["words-new-one-each"]
    studies = set(map(kind_of, GROUPS["words-sixteen-relations"]))

    assert set(tasks) <= {*GROUPS["words-new-frames"], *GROUPS["words-new-kinds"]}
    assert sorted(map(kind_of, tasks)) == sorted(studies | {relation.name for relation in NEW_RELATIONS})


def test_new_tasks_are_no_source_tasks_and_new_kinds_are_of_no_source_relation() -> None:
    source, frames, kinds = (GROUPS[name] for name in ("words-144", "words-new-frames", "words-new-kinds"))
    known = {relation.name for relation in KNOWN_RELATIONS}

    assert sorted((*source, *frames, *kinds)) == sorted(WORD_TASKS)
    assert set(map(kind_of, frames)) == known
    assert set(map(kind_of, kinds)) == {relation.name for relation in NEW_RELATIONS}
    assert len(NEW_RELATIONS) >= 4


def test_a_group_has_one_task_of_every_relation() -> None:
    relations = [relation.name for relation in (*KNOWN_RELATIONS, *NEW_RELATIONS)]

    assert list(map(kind_of, GROUPS["words-one-each"])) == relations


@pytest.mark.parametrize("base", ["mini-qwen3-m", "mini-gemma3"])
def test_every_row_encodes_aligned_and_whole(base: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASES_DIR / base)

    for task in GROUPS["words-24"] + GROUPS["words-new-kinds"]:
        rows = [
            encode_example(example, split, tokenizer, max_prompt=64)
            for split in SPLITS
            for example in word_examples(task, split)
        ]
        assert not any(row.truncated for row in rows)


def test_the_suite_has_tasks_groups_and_kinds() -> None:
    suite = load_suite("words")

    assert suite.tasks == WORD_TASKS
    assert suite.choose(["words-24"]) == GROUPS["words-24"]
    assert set(suite.kinds.values()) == {relation.name for relation in (*KNOWN_RELATIONS, *NEW_RELATIONS)}
    assert len(suite.examples("capital_01", "train")) >= 24


def test_a_wrong_task_or_split_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'capital_01'"):
        word_examples("capitol_01", "test")
    with pytest.raises(ValueError, match="did you mean 'validation'"):
        word_examples("capital_01", "valid")
