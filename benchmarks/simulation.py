"""How long the paper's studies, and one of 50,000 runs, are predicted to take on 4 to 512 B200s.

Plans on bases of the real ones' shapes without their weights, and fourteen tasks with as many rows as theirs,
are played through on the cost model by the rule that lanes follow.
"""

import json
import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from transformers import AutoTokenizer, Gemma3TextConfig, PretrainedConfig, Qwen3Config

from portal.bases.registry import MINI_FOLDER
from sweeps.planning import devices
from sweeps.planning.plan import plan_study
from sweeps.study.catalogue import STUDIES
from sweeps.study.expand import Study, load_study

GPUS = (4, 8, 16, 32, 64, 128, 256, 512)
TARGET = 1.05
"""Makespan by its lower bound."""
LARGE_RUNS = 50_000
_VOCABULARY = 151936


def _qwen3(hidden: int, layers: int, heads: int, intermediate: int, *, tied: bool) -> PretrainedConfig:
    return Qwen3Config(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=intermediate,
        vocab_size=_VOCABULARY,
        tie_word_embeddings=tied,
    )


SHAPES = {
    "qwen3-1.7b": _qwen3(2048, 28, 16, 6144, tied=True),
    "qwen3-4b": _qwen3(2560, 36, 32, 9728, tied=True),
    "qwen3-8b": _qwen3(4096, 36, 32, 12288, tied=False),
    "gemma-3-4b": Gemma3TextConfig(
        hidden_size=2560,
        num_hidden_layers=34,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        intermediate_size=10240,
        vocab_size=262208,
        bos_token_id=AutoTokenizer.from_pretrained(MINI_FOLDER / "mini-gemma3").bos_token_id,
    ),
}
TRAIN_ROWS = {
    "truthfulqa": 552,
    "rte": 2241,
    "cb": 225,
    "copa": 360,
    "wic": 4928,
    "wsc": 499,
    "boolq": 8927,
    "arc_easy": 2026,
    "arc_challenge": 1008,
    "hellaswag": 39405,
    "openbookqa": 4462,
    "winogrande": 39898,
    "commonsense_qa": 9241,
    "sciq": 11179,
}
"""Training rows of the fourteen tasks, less the validation slice; a run uses at most 2,000."""
_MOST_ROWS, _SCORED_ROWS, _WORDS = 2000, 500, 40


@dataclass(frozen=True)
class Point:
    """A study on so many GPUs: predicted seconds from start to end, and the least that any order could take.

    `plan_s` are the seconds that planning took here.
    """

    runs: int
    packs: int
    plan_s: float
    gpus: int
    makespan_s: float
    lower_bound_s: float


def simulation() -> list[Point]:
    """The shipped study `paper`, then the same with as many seeds as make `LARGE_RUNS` runs."""
    with tempfile.TemporaryDirectory(prefix="portal-bench-") as scratch:
        folder = Path(scratch)
        content = _local_study(folder)
        study = load_study(_written(folder, content))
        seeds = len(study.settings.seeds)
        seedless = sum(run.seed is None for run in study.runs)
        needed = -(-(LARGE_RUNS - seedless) * seeds // (len(study.runs) - seedless))
        large = load_study(_written(folder, {**content, "name": "large", "seeds": list(range(needed))}))
        return [*_points(study, folder / "out"), *_points(large, folder / "out")]


def _points(study: Study, out: Path) -> list[Point]:
    points = []
    for gpus in GPUS:
        started = time.perf_counter()
        plan = plan_study(study, out, device=devices.GPUS["b200"], lanes=gpus)
        schedule = plan.schedule(gpus)
        spent = time.perf_counter() - started
        points.append(
            Point(len(study.runs), len(plan.packs), spent, gpus, schedule.makespan, schedule.lower_bound)
        )
    return points


def _local_study(folder: Path) -> dict[str, Any]:
    """The shipped study with bases and rows that lie below `folder`."""
    text = (STUDIES / "paper.yaml").read_text()
    for name, config in SHAPES.items():
        text = text.replace(name, str(_write_base(folder / name, config)))
    content = yaml.safe_load(text)
    return {**content, "suite": str(_write_tasks(folder / "tasks"))}


def _written(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def _write_base(folder: Path, config: PretrainedConfig) -> Path:
    """A base's config and an embedded base's tokenizer; its one tensor stands for weights nobody loads."""
    config.save_pretrained(folder)
    tokenizer = "mini-gemma3" if "gemma" in config.model_type else "mini-qwen3-xs"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MINI_FOLDER / tokenizer / name, folder / name)
    save_file({"none": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def _write_tasks(folder: Path) -> Path:
    generator = random.Random(0)
    for task, count in TRAIN_ROWS.items():
        (folder / task).mkdir(parents=True)
        sizes = {"train": min(count, _MOST_ROWS), "validation": _SCORED_ROWS, "test": _SCORED_ROWS}
        for split, size in sizes.items():
            rows = [_row(generator) for _ in range(size)]
            (folder / task / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def _row(generator: random.Random) -> dict[str, Any]:
    words = generator.randint(_WORDS // 2, 2 * _WORDS)
    return {
        "prompt": " ".join(f"w{generator.randrange(10**4)}" for _ in range(words)),
        "choices": [" yes", " no"],
        "gold": generator.randrange(2),
    }
