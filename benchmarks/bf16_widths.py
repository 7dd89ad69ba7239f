"""A frozen base in bf16 against the same in fp32 as it gets wider: a step and an evaluation, on this CPU.

CPU time of the process is measured, of both threads where there are two, so that others may use the machine;
OMP_WAIT_POLICY=passive keeps threads that wait from adding to it.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from benchmarks.measure import ratio, take_turns
from benchmarks.runs import make_run
from portal.bases.base import Base
from portal.bases.precision import cpu_has_bf16
from portal.bases.registry import MINI_FOLDER
from portal.bases.sites import find_layer_path, find_sites
from portal.data.token_rows import RowTable, TokenRow
from portal.device import usable_cores
from portal.evaluate.loglikelihood import Scored, ScoringBatches, queue_scores, scoring_batches
from portal.learners.lora import LoraLearner
from portal.tasks.example import SPLITS
from portal.training.pack import Pack

WIDTHS = (64, 128, 192, 256, 384, 512, 768, 1024)
TURNS = 4
TASKS = tuple(f"task {number}" for number in range(8))
BATCH, CHOICES, LAYERS, VOCABULARY = 4, 4, 6, 4096
_FOREVER = {"epochs": 10**6, "evaluate": "last_epoch", "batch_size": BATCH}


@dataclass(frozen=True)
class Point:
    """Median CPU seconds of a step and an evaluation in either precision, and the median ratios of turns."""

    width: int
    threads: int
    step_s: dict[str, float]
    step_gain: float
    score_s: dict[str, float]
    score_gain: float


def bf16_widths() -> list[Point]:
    """Every width with one thread and with all cores; nothing where the CPU would emulate bf16."""
    if not cpu_has_bf16():
        return []
    rows = _rows()
    return [measure(width, threads, rows) for width in WIDTHS for threads in sorted({1, usable_cores()})]


def _scores(base: Base, layout: ScoringBatches) -> list[Scored]:
    return queue_scores(base, layout).scored


def measure(width: int, threads: int, rows: RowTable) -> Point:
    """Both precisions by turns in this process."""
    torch.set_num_threads(threads)
    steps: dict[str, Callable[[], object]] = {}
    scores: dict[str, Callable[[], object]] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        base = _base(width, dtype)
        steps[name] = partial(_step, _pack(base, rows))
        layout = scoring_batches([row for task in TASKS for row in rows.rows(task, "test")], base)
        scores[name] = partial(_scores, base, layout)
    step_s, score_s = (take_turns(sides, repeats=TURNS, clock=time.process_time) for sides in (steps, scores))
    return Point(
        width,
        threads,
        {name: median(spent) for name, spent in step_s.items()},
        ratio(step_s["bf16"], step_s["fp32"]).value,
        {name: median(spent) for name, spent in score_s.items()},
        ratio(score_s["bf16"], score_s["fp32"]).value,
    )


def _base(width: int, dtype: torch.dtype) -> Base:
    """Random weights in the shape of Qwen3, six layers deep."""
    torch.manual_seed(0)
    head = 32 if width < 512 else 64
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=LAYERS,
        num_attention_heads=width // head,
        num_key_value_heads=max(1, width // head // 2),
        head_dim=head,
        intermediate_size=3 * width,
        attn_implementation="sdpa",
        use_cache=False,
    )
    model = Qwen3ForCausalLM(config).to(dtype).requires_grad_(False).eval()
    path = find_layer_path(model)
    tokenizer = AutoTokenizer.from_pretrained(MINI_FOLDER / "mini-qwen3-s")  # rows are made of ids
    return Base(f"width-{width}", "0", model, tokenizer, path, find_sites(model, path))


def _pack(base: Base, rows: RowTable) -> Pack:
    """One learner: a LoRA r8 on q and v for each of the tasks."""
    run = make_run("lora", base, TASKS, size=2 * BATCH, train=_FOREVER)
    learner = LoraLearner(run, {base.name: base}, {base.name: rows})
    return Pack({base.name: base}, {base.name: rows}, [learner])


def _step(pack: Pack) -> None:
    pack.step()
    pack.sync_metrics()


def _rows() -> RowTable:
    """Prompts of 24 to 71 random tokens, with choices of one to three."""
    draw = random.Random(0)

    def tokens(fewest: int, most: int) -> tuple[int, ...]:
        return tuple(draw.randrange(VOCABULARY) for _ in range(draw.randint(fewest, most)))

    def row(task: str, split: str, place: int) -> TokenRow:
        choices = tuple(tokens(1, 3) for _ in range(CHOICES))
        lengths = tuple(4 * len(choice) for choice in choices)
        name = f"{place:03d}"
        return TokenRow(
            task, name, split, name, tokens(24, 71), choices, 0, lengths, lengths, lengths, (0,) * CHOICES, 0
        )

    return RowTable(
        row(task, split, place) for split in SPLITS for task in TASKS for place in range(2 * BATCH)
    )
