"""`python -m portal.village.pretrain`: rebuilds the tokenizers and bases of the village from this code."""

from pathlib import Path

from portal.pretraining.blueprint import Blueprint, Recipe, gemma_shape, hybrid_shape
from portal.pretraining.pretrain import run_command
from portal.village.corpus import draw_documents

BASES_DIR = Path(__file__).parent / "bases"
_XS = {"hidden_size": 72, "num_hidden_layers": 3, "head_dim": 24, "intermediate_size": 224}
_S = {"hidden_size": 96, "num_hidden_layers": 4, "head_dim": 32, "intermediate_size": 256}
_M = {"hidden_size": 128, "num_hidden_layers": 6, "head_dim": 32, "intermediate_size": 352}
BLUEPRINTS = (
    Blueprint("village-qwen3.5", "qwen3_5", hybrid_shape(112, 6, 256), 3072, Recipe(steps=7000)),
    Blueprint("village-qwen3-m", "qwen3", _M, 3072, Recipe(steps=7000)),
    Blueprint("village-gemma3", "gemma3", gemma_shape(112, 5, 320, window=24), 3328, Recipe(steps=7000)),
    Blueprint("village-qwen3-s", "qwen3", _S, 3072, Recipe(steps=9000)),
    Blueprint("village-qwen3-xs", "qwen3", _XS, 3072, Recipe(steps=12000)),
)
"""Slowest first, so that two cores end together."""
VILLAGE_BASES = (
    "village-qwen3-xs",
    "village-qwen3-s",
    "village-qwen3-m",
    "village-gemma3",
    "village-qwen3.5",
)


if __name__ == "__main__":
    run_command(BLUEPRINTS, draw_documents, BASES_DIR)
