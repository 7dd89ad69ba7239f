"""`ShapeWorld`: a base of a known shape with random weights, rows as long as tasks' are, and packs on it."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch

from portal.bases.base import Base, with_operations
from portal.bases.family import load_tokenizer, model_class, outline_config
from portal.bases.operations import Operations
from portal.bases.precision import weights_dtype
from portal.bases.sites import find_layer_path, find_sites
from portal.config import (
    Activations,
    AdapterConfig,
    BaseRef,
    DataConfig,
    HypernetConfig,
    Precision,
    RunConfig,
    paper_hidden,
)
from portal.data.token_rows import RowTable, TokenRow
from portal.device import prepare_cpu, prepare_gpu
from portal.learners.hypernet import HypernetLearner
from portal.tasks.example import SPLITS
from portal.train_config import TrainConfig
from portal.training.pack import Pack

LENGTHS: dict[str, tuple[tuple[int, ...], int, int]] = {
    "truthfulqa": ((11, 14, 16, 19, 33), 12, 5),
    "rte": ((37, 51, 65, 100, 178), 1, 2),
    "cb": ((47, 65, 82, 110, 186), 1, 3),
    "copa": ((5, 6, 8, 9, 11), 6, 2),
    "wic": ((41, 44, 48, 52, 60), 1, 2),
    "wsc": ((33, 37, 41, 47, 61), 1, 2),
    "boolq": ((64, 104, 144, 188, 297), 1, 2),
    "arc_easy": ((13, 17, 22, 32, 58), 5, 4),
    "arc_challenge": ((14, 18, 25, 37, 57), 6, 4),
    "hellaswag": ((14, 22, 29, 35, 52), 15, 4),
    "openbookqa": ((10, 13, 16, 20, 30), 3, 4),
    "winogrande": ((9, 12, 15, 17, 23), 7, 2),
    "commonsense_qa": ((12, 16, 20, 24, 31), 2, 5),
    "sciq": ((13, 17, 20, 24, 32), 2, 4),
}
"""Of the fourteen public tasks, as SmolLM2's tokenizer counts them: the 5th, 25th, 50th, 75th and 95th
percentile of the prompt's tokens, mean tokens of the gold answer, and the usual number of choices."""
_PERCENTILES = (5, 25, 50, 75, 95)
BATCH = 4
"""Rows of each task in a step, as in the paper."""
_ROWS = 64
_EPOCHS = 10**6
_SMALL_HYPERNET = HypernetConfig(d_latent=32, d_layer=16, hidden=64, d_core=48)
_TOKENIZER = "mini-qwen3-s"


class ShapeWorld:
    """A base, its own weights or random ones, and rows of random tokens: `batch` of each task in a step."""

    def __init__(self, base: Base, *, batch: int = BATCH) -> None:
        self.base, self.batch = base, batch
        self.rows = random_rows(self.base.text_config.vocab_size)
        self._by_base = {self.base.name: self.base}, {self.base.name: self.rows}

    @property
    def name(self) -> str:
        """The base's, as lines have it."""
        return f"{self.base.name} in bf16" if self.is_halved else self.base.name

    @property
    def is_halved(self) -> bool:
        """Whether it is in bf16 on a CPU, where fp32 is the usual precision."""
        return self.base.device.type == "cpu" and self.base.model.dtype == torch.bfloat16

    @property
    def kind(self) -> Literal["cuda", "cpu", "cpu in bf16"]:
        """What is timed at which length: on a CPU a base in bf16 apart."""
        if self.base.device.type == "cuda":
            return "cuda"
        return "cpu in bf16" if self.is_halved else "cpu"

    def runs(self, modules: Sequence[str], count: int) -> list[RunConfig]:
        """So many LoRA hypernets on all tasks, in as many seeds; on a CPU of a small core."""
        hypernet = HypernetConfig(hidden=paper_hidden(modules))
        on_gpu = self.base.device.type == "cuda"
        precision: Precision = "bf16" if self.is_halved else "default"
        return [
            RunConfig(
                method="hypernet",
                bases=(BaseRef(name=self.base.name, revision=self.base.revision, precision=precision),),
                data=DataConfig(
                    suite="lengths", tasks=tuple(LENGTHS), prompt_set="lengths", size=_ROWS, data_hash="0"
                ),
                adapter=AdapterConfig(modules=tuple(modules), rank=8, alpha=16),
                hypernet=hypernet if on_gpu else _SMALL_HYPERNET,
                train=TrainConfig(epochs=_EPOCHS, evaluate="last_epoch", batch_size=self.batch),
                seed=seed,
            )
            for seed in range(count)
        ]

    def pack(
        self, runs: Sequence[RunConfig], max_tokens: Mapping[str, int], activations: Activations = "keep"
    ) -> Pack:
        """A pack of fresh learners of these runs; `max_tokens` are those of a forward, by base."""
        learners = [HypernetLearner(run, *self._by_base) for run in runs]
        return Pack(*self._by_base, learners, max_tokens=max_tokens, activations=activations)


def random_base(
    name: str, device: torch.device, operations: Operations | None = None, *, precision: Precision = "default"
) -> Base:
    """A base of this shape, any whose sizes are known, as `load_base` gives it but for its weights.

    Nothing is read or downloaded. Without `operations` it has the usual ones.
    """
    on_gpu = device.type == "cuda"
    if on_gpu:
        prepare_gpu()
    else:
        prepare_cpu()
    torch.manual_seed(0)
    config = outline_config(name)
    config.use_cache = False
    with torch.device(device):
        model = model_class(config).from_config(
            config, dtype=weights_dtype(precision, on_gpu=on_gpu), attn_implementation="sdpa"
        )
    model.requires_grad_(False).eval()
    path = find_layer_path(model)
    base = Base(name, "random weights", model, load_tokenizer(_TOKENIZER), path, find_sites(model, path))
    return with_operations(base, operations)


def random_rows(vocabulary: int) -> RowTable:
    """Rows of random tokens, as long as those of the tasks; the same in every split."""
    draw = np.random.default_rng(0)
    rows = []
    for task, (percentiles, answer, choices) in LENGTHS.items():
        lengths = np.interp(draw.uniform(5, 95, _ROWS), _PERCENTILES, percentiles).round()
        for number, length in enumerate(lengths.astype(int)):
            prompt = tuple(draw.integers(3, vocabulary, length).tolist())
            offered = tuple(tuple(draw.integers(3, vocabulary, answer).tolist()) for _ in range(choices))
            name, gold, sizes = str(number), number % choices, (4 * answer,) * choices
            counts = (sizes, sizes, sizes, (0,) * choices, 0)
            rows += [TokenRow(task, name, split, name, prompt, offered, gold, *counts) for split in SPLITS]
    return RowTable(rows)
