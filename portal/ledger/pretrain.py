"""`python -m portal.ledger.pretrain`: rebuilds the tokenizers and bases of the ledger from this code."""

from pathlib import Path

from portal.ledger.corpus import draw_documents
from portal.pretraining.blueprint import Blueprint, Recipe, gemma_shape
from portal.pretraining.pretrain import run_command

BASES_DIR = Path(__file__).parent / "bases"
_XS = {"hidden_size": 64, "num_hidden_layers": 3, "head_dim": 24, "intermediate_size": 192}
_S = {"hidden_size": 96, "num_hidden_layers": 4, "head_dim": 32, "intermediate_size": 256}
BLUEPRINTS = (
    Blueprint("ledger-gemma3", "gemma3", gemma_shape(96, 4, 256, window=24), 1536, Recipe(steps=3500)),
    Blueprint("ledger-qwen3-s", "qwen3", _S, 1408, Recipe(steps=3500)),
    Blueprint("ledger-qwen3-xs", "qwen3", _XS, 1408, Recipe(steps=6000)),
)
"""Slowest first."""
LEDGER_BASES = ("ledger-qwen3-xs", "ledger-qwen3-s", "ledger-gemma3")


if __name__ == "__main__":
    run_command(BLUEPRINTS, draw_documents, BASES_DIR)
