import hashlib
import json
from collections import Counter
from itertools import islice
from statistics import mean

import pytest
from transformers import AutoTokenizer

from portal.data.token_rows import encode_example
from portal.mini import tasks
from portal.mini.corpus import draw_documents
from portal.mini.pretrain import BASES_DIR
from portal.mini.tasks import MINI_TASKS, SIZES, mini_examples
from portal.tasks.example import SPLITS

EXAMPLES_SHA256 = "5178ddd90b871f17a01446fdfe86892ad42899c227010177a8c2f68c22d57b22"
FORMAT_STRINGS = (
    "Question:", "Answer:", "Reply:", "Is it so", "True, False", "because", "therefore", "senior", "junior",
    "Shelf:", "Minus:", "Bag:", "Size =", "First =", "Last =", "odd:", "=>", "<-", "//", "|", "[", "=",
    "ally", "residence", "address", "cradle", "origin", "office", "desk", "Delight", "Disgust", "dinner:",
)  # fmt: skip


def test_examples_are_the_same_in_every_process_and_version():
    first = {(task, split): mini_examples(task, split) for task in MINI_TASKS for split in SPLITS}
    tasks._draw_task.cache_clear()
    again = {(task, split): mini_examples(task, split) for task in MINI_TASKS for split in SPLITS}

    fields = [(e.id, e.prompt, e.choices, e.gold, e.cluster) for key in sorted(first) for e in first[key]]
    assert again == first
    assert hashlib.sha256(json.dumps(fields).encode()).hexdigest() == EXAMPLES_SHA256


@pytest.mark.parametrize("task", MINI_TASKS)
def test_splits_share_no_cluster_and_no_prompt(task):
    splits = [mini_examples(task, split) for split in SPLITS]

    assert [len(examples) for examples in splits] == [SIZES[split] for split in SPLITS]
    for i, one in enumerate(splits):
        assert len({e.prompt for e in one}) == len(one)
        for other in splits[i + 1 :]:
            assert not {e.cluster for e in one} & {e.cluster for e in other}
            assert not {e.prompt for e in one} & {e.prompt for e in other}


@pytest.mark.parametrize("task", MINI_TASKS)
@pytest.mark.parametrize("split", SPLITS)
def test_no_gold_position_is_more_frequent_than_another(task, split):
    counts = Counter(example.gold for example in mini_examples(task, split))

    assert len(counts) == len(mini_examples(task, split)[0].choices)
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("base", ["mini-qwen3-m", "mini-gemma3"])
def test_every_row_encodes_aligned_and_short(base):
    tokenizer = AutoTokenizer.from_pretrained(BASES_DIR / base)
    for task in MINI_TASKS:
        rows = [
            encode_example(e, split, tokenizer, max_prompt=64)
            for split in SPLITS
            for e in mini_examples(task, split)
        ]
        lengths = [len(row.gold_ids) for row in rows]

        assert max(lengths) <= 64
        assert mean(lengths) <= 40
        assert not any(row.truncated for row in rows)


def test_corpus_has_nothing_of_the_formats_of_the_tasks():
    text = "\n".join(islice(draw_documents(), 20_000))

    assert [string for string in FORMAT_STRINGS if string in text] == []


def test_a_wrong_task_or_split_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'pronoun'"):
        mini_examples("pronouns", "test")
    with pytest.raises(ValueError, match="did you mean 'validation'"):
        mini_examples("pronoun", "valid")
