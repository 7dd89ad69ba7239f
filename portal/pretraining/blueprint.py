"""`Blueprint`: an embedded base before training: a transformers config at toy size, and how it is trained."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from transformers import (
    Gemma3TextConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3_5TextConfig,
    Qwen3Config,
)

CONTEXT = 512
_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
Family = Literal["qwen3", "qwen3_5", "gemma3"]
_CONFIGS: dict[Family, type[PretrainedConfig]] = {
    "qwen3": Qwen3Config,
    "qwen3_5": Qwen3_5TextConfig,
    "gemma3": Gemma3TextConfig,
}


@dataclass(frozen=True)
class Recipe:
    """How a base is trained: linear warm-up, then a cosine to a twentieth of the peak learning rates."""

    steps: int
    batch_size: int = 16
    length: int = 64
    lr: float = 4e-3
    muon_lr: float = 3e-2
    warmup: int = 100
    weight_decay: float = 0.05
    clip_norm: float = 1.0

    def share_at(self, step: int) -> float:
        """Learning rate of a step, 0-based, as a share of its peak."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Blueprint:
    """Everything that decides a base, beside the text that it reads.

    `shape` holds the settings of the family's config that give the model its size; `vocab_size` is that of
    the tokenizer, which is trained on the same text.
    """

    name: str
    family: Family
    shape: dict[str, Any]
    vocab_size: int
    recipe: Recipe

    def config(self, tokenizer: PreTrainedTokenizerFast) -> PretrainedConfig:
        """The model's config with 4 query and 2 key-value heads and tied embeddings."""
        settings = {
            **self.shape,
            **_HEADS,
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "max_position_embeddings": CONTEXT,
            "initializer_range": 0.05,
            "tie_word_embeddings": True,
        }
        return _CONFIGS[self.family](**settings)


def gemma_shape(hidden_size: int, layers: int, intermediate_size: int, window: int) -> dict[str, Any]:
    """A Gemma-3 of `layers` layers: sliding and full attention in turn, the last layer full."""
    turns = ["sliding_attention", "full_attention"] * layers
    return {
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "intermediate_size": intermediate_size,
        "sliding_window": window,
        "layer_types": [*turns[: layers - 1], "full_attention"],
    }


def hybrid_shape(hidden_size: int, layers: int, intermediate_size: int) -> dict[str, Any]:
    """A Qwen3.5 of `layers` layers: of every three, two of linear attention (Gated DeltaNet) and one full."""
    turns = ["linear_attention", "linear_attention", "full_attention"] * layers
    return {
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "head_dim": 32,
        "intermediate_size": intermediate_size,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
        "layer_types": turns[:layers],
    }
