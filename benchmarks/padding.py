"""How much of a GPU's step is padding, and which of its launches and its tokens take longer: by count.

No GPU is needed: the planner is run on steps of real rows, with products at the rates of data sheets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from benchmarks.sample import MAX_PROMPT, draw
from portal.bases.family import load_tokenizer
from portal.data.token_rows import TokenRow, encode_example
from portal.device import KNOWN_GPUS
from portal.forward.microbatch import SlotRows, gpu_launch_cost, plan_overlapped, tokens_and_launches
from portal.modules import ALL_MODULES
from sweeps.planning.memory import decoder_shape

BASES = ("qwen3-8b", "qwen3-4b", "qwen3-1.7b")
GPUS = ("H100", "B200")
ADAPTED = {"q, v": ("q", "v"), "all": ALL_MODULES}
LEARNERS = (1, 3, 8)
TARGET = 1.25
"""Padded tokens per real one in a step of the most learners on the largest base."""
BATCH = 4
_TOKENIZER, _ROWS_PER_TASK, _STEPS = "smollm2-135m", 200, 8


@dataclass(frozen=True)
class Point:
    """Means over steps of `learners` x fourteen tasks x BATCH rows on one base and GPU.

    `padded` are tokens per real token, and `bound` is the longer of launches and padded tokens, in tokens
    that take as long, per real token.
    """

    base: str
    gpu: str
    modules: str
    learners: int
    forwards: float
    padded: float
    bound: float


def padding() -> list[Point]:
    """Every base on every GPU, with fewer and more adapted modules and learners."""
    rows = _rows()
    return [
        _point(base, gpu, modules, learners, rows)
        for base in BASES
        for gpu in GPUS
        for modules in ADAPTED
        for learners in LEARNERS
    ]


def _point(base: str, gpu: str, modules: str, learners: int, rows: Sequence[Sequence[TokenRow]]) -> Point:
    shape = decoder_shape(base)
    cost = gpu_launch_cost(KNOWN_GPUS[gpu], shape.layers, shape.active_params, len(ADAPTED[modules]), "fused")
    forwards, padded, bound = [], [], []
    for slots in _steps(learners, rows):
        plan = plan_overlapped(slots, cost)
        real = sum(slot.num_tokens for slot in slots)
        tokens, launches = tokens_and_launches(plan, cost)
        forwards.append(len(plan))
        padded.append(tokens / real)
        bound.append(max(tokens, launches) / real)
    return Point(base, gpu, modules, learners, fmean(forwards), fmean(padded), fmean(bound))


def _steps(learners: int, rows: Sequence[Sequence[TokenRow]]) -> Iterator[list[SlotRows]]:
    """The rows of each step, the same for every base and GPU."""
    draw_rows = np.random.default_rng(0)
    for _ in range(_STEPS):
        yield [
            SlotRows(owner, slot, tuple(own[i] for i in draw_rows.choice(len(own), BATCH, replace=False)))
            for owner in range(learners)
            for slot, own in enumerate(rows)
        ]


def _rows() -> list[list[TokenRow]]:
    tokenizer = load_tokenizer(_TOKENIZER)
    by_task: dict[str, list[TokenRow]] = {}
    for example in draw("portal14", _ROWS_PER_TASK, seed=0):
        row = encode_example(example, "train", tokenizer, max_prompt=MAX_PROMPT)
        by_task.setdefault(example.task, []).append(row)
    return list(by_task.values())
