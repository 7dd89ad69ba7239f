"""`python -m portal.mini.pretrain`: rebuilds the tokenizers and the four bases from nothing but this code."""

from pathlib import Path

from portal.mini.corpus import draw_documents
from portal.pretraining.blueprint import Blueprint, Recipe, gemma_shape
from portal.pretraining.pretrain import run_command

BASES_DIR = Path(__file__).parent / "bases"
_XS = {"hidden_size": 64, "num_hidden_layers": 3, "head_dim": 16, "intermediate_size": 192}
_S = {"hidden_size": 96, "num_hidden_layers": 4, "head_dim": 32, "intermediate_size": 256}
_M = {"hidden_size": 128, "num_hidden_layers": 6, "head_dim": 32, "intermediate_size": 352}
BLUEPRINTS = (
    Blueprint("mini-qwen3-m", "qwen3", _M, 1400, Recipe(steps=4500)),
    Blueprint("mini-gemma3", "gemma3", gemma_shape(112, 5, 320, window=16), 1536, Recipe(steps=3500)),
    Blueprint("mini-qwen3-s", "qwen3", _S, 1400, Recipe(steps=4000)),
    Blueprint("mini-qwen3-xs", "qwen3", _XS, 1400, Recipe(steps=8000)),
)
"""Slowest first, so that two cores end together."""
MINI_BASES = ("mini-qwen3-xs", "mini-qwen3-s", "mini-qwen3-m", "mini-gemma3")


if __name__ == "__main__":
    run_command(BLUEPRINTS, draw_documents, BASES_DIR)
