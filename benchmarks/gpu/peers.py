"""All tasks against peft and portallib on the same rows, on a base of a real shape."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from benchmarks.comparison import Comparison
from benchmarks.lora import BATCH, EVERYTHING, NARROW, compare_packed
from benchmarks.sample import as_table, task_names
from benchmarks.training_round import compare_rounds
from portal.device import release_memory
from portal.messages import counted
from portal.tasks.example import Example
from sweeps.gpu_check.shape import LENGTHS, random_base

_TURNS = {"cuda": 15, "cpu": 3}
_BESIDE_PEFT = (("q/v r8", NARROW, 1), ("q/v r8", NARROW, 3), ("all r16", EVERYTHING, 1))
"""What is adapted, and in how many seeds: with all modules of 8B a second would need the memory of peft's
copy."""
_TASKS = {"cuda": len(LENGTHS), "cpu": 3}


def compare_with_peers(shape: str, device: torch.device) -> Iterator[Comparison]:
    """Steps against peft with one adapter after another, then a round against portallib's trainer, q and v.

    All of them run on the base's own operations, ours too.
    """
    base, turns = random_base(shape, device, "plain"), _TURNS[device.type]
    examples = random_examples(base.tokenizer, tuple(LENGTHS)[: _TASKS[device.type]])
    rows, tasks = as_table(examples, base), task_names(examples)
    for adapted, adapter, seeds in _BESIDE_PEFT:
        what = f"step of {len(tasks)} tasks' LoRAs in {counted(seeds, 'seed')}, {adapted}, {shape}"
        yield from compare_packed(base, rows, tasks, adapter, what, seeds=seeds, target=None, repeats=turns)
    del base
    release_memory()
    load = partial(random_base, shape, device, "plain")
    yield from compare_rounds(load, {"portallib": load}, examples, target=None, rounds=turns, name=shape)


def random_examples(tokenizer: PreTrainedTokenizerBase, tasks: tuple[str, ...]) -> list[Example]:
    """Questions of random words, each about as many tokens long as the tasks' own, BATCH of each task."""
    draw, words = np.random.default_rng(0), _words(tokenizer)

    def text(length: int) -> str:
        return " ".join(draw.choice(words, length))

    examples = []
    for task in tasks:
        percentiles, answer, num_choices = LENGTHS[task]
        for number in range(BATCH):
            choices: dict[str, None] = {}  # in their order, each of them once
            while len(choices) < num_choices:
                choices[f" {text(answer)}"] = None
            prompt = text(int(draw.choice(percentiles)))
            examples.append(Example(task, str(number), prompt, tuple(choices), 0, str(number)))
    return examples


def _words(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Words that are a token each."""
    texts = {tokenizer.decode([index]).strip() for index in range(len(tokenizer))}
    found = [
        text
        for text in sorted(texts)
        if text.isalpha() and len(tokenizer(f" {text}", add_special_tokens=False).input_ids) == 1
    ]
    assert found, "a tokenizer has words"
    return found
