"""`Outline`: what fixes the shapes of bases that a `Geometry` does not describe.

The values are those of the published configs; rotary angles and multipliers, which no shape hangs on, are
left out. The models that follow are held to the published numbers of parameters (test_geometry.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FULL, _SLIDING, _LINEAR, _CONV = "full_attention", "sliding_attention", "linear_attention", "conv"
_STATE_SPACE, _ATTENTION = "mamba", "attention"  # as Granite 4 calls its layers


@dataclass(frozen=True)
class Outline:
    """A transformers model type, and values of its config, enough for the model's shapes."""

    family: str
    config: Mapping[str, Any]


def qwen35(
    *, hidden: int, layers: int, heads: int, kv_heads: int, feed_forward: int, value_heads: int, tied: bool
) -> Outline:
    """Qwen3.5: linear attention in three of four layers. transformers loads it without the vision tower."""
    text = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": 256,
        "intermediate_size": feed_forward,
        "vocab_size": 248320,
        "max_position_embeddings": 262144,
        "layer_types": [_LINEAR, _LINEAR, _LINEAR, _FULL] * (layers // 4),
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": value_heads,
        "tie_word_embeddings": tied,
    }
    return Outline("qwen3_5", {"text_config": text, "tie_word_embeddings": tied})


def gemma4(
    *, hidden: int, layers: int, kv_heads: int, feed_forward: int, shared: int, sliding: int, wide: bool
) -> Outline:
    """Gemma 4 with towers for images and speech: the last `shared` layers take k and v from earlier ones.

    A full layer comes after so many `sliding` ones. With `wide`, the feed-forward of layers that share is
    twice as wide.
    """
    text = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 8,
        "num_key_value_heads": kv_heads,
        "head_dim": 256,
        "global_head_dim": 512,
        "intermediate_size": feed_forward,
        "use_double_wide_mlp": wide,
        "num_kv_shared_layers": shared,
        "hidden_size_per_layer_input": 256,
        "vocab_size": 262144,
        "vocab_size_per_layer_input": 262144,
        "max_position_embeddings": 131072,
        "sliding_window": 512,
        "layer_types": ([_SLIDING] * sliding + [_FULL]) * (layers // (sliding + 1)),
    }
    vision = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 16,
        "num_attention_heads": 12,
        "num_key_value_heads": 12,
        "head_dim": 64,
        "patch_size": 16,
        "use_clipped_linears": True,
    }
    speech = {
        "hidden_size": 1024,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "output_proj_dims": 1536,
    }
    return Outline("gemma4", {"text_config": text, "vision_config": vision, "audio_config": speech})


def ministral3(*, hidden: int, layers: int, feed_forward: int, tied: bool) -> Outline:
    """Ministral 3, whose heads may together be wider than its hidden states, with a vision tower."""
    text = {
        "model_type": "ministral3",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": feed_forward,
        "vocab_size": 131072,
        "max_position_embeddings": 262144,
        "sliding_window": None,
        "tie_word_embeddings": tied,
    }
    vision = {
        "model_type": "pixtral",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "head_dim": 64,
        "intermediate_size": 4096,
        "patch_size": 14,
        "image_size": 1540,
    }
    return Outline("mistral3", {"text_config": text, "vision_config": vision, "tie_word_embeddings": tied})


def granite4(
    *, hidden: int, heads: int, kv_heads: int, feed_forward: int, differs: Mapping[str, Any] | None = None
) -> Outline:
    """Granite 4 of forty layers. `feed_forward` is that of the shared expert, or the only one.

    `differs` are values other than those of a model with attention in every layer and no mixture.
    """
    config: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": 40,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": feed_forward,
        "shared_intermediate_size": feed_forward,
        "num_local_experts": 0,
        "num_experts_per_tok": 0,
        "vocab_size": 100352,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
        "layer_types": [_ATTENTION] * 40,
    }
    return Outline("granitemoehybrid", {**config, **(differs or {})})


def state_space(heads: int) -> dict[str, Any]:
    """What Granite 4's hybrids have in all layers but four, with so many heads."""
    return {
        "layer_types": [_ATTENTION if layer % 10 == 5 else _STATE_SPACE for layer in range(40)],
        "mamba_n_heads": heads,
        "mamba_d_head": 64,
        "mamba_d_state": 128,
        "mamba_n_groups": 1,
        "mamba_d_conv": 4,
        "mamba_expand": 2,
    }


OLMO3_7B = Outline(
    "olmo3",
    {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 11008,
        "vocab_size": 100278,
        "max_position_embeddings": 65536,
        "sliding_window": 4096,
        "layer_types": [_SLIDING, _SLIDING, _SLIDING, _FULL] * 8,
        "tie_word_embeddings": False,
    },
)
SMOLLM3_3B = Outline(
    "smollm3",
    {
        "hidden_size": 2048,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "intermediate_size": 11008,
        "vocab_size": 128256,
        "max_position_embeddings": 65536,
        "tie_word_embeddings": True,
    },
)
PHI4_MINI = Outline(
    "phi3",
    {
        "hidden_size": 3072,
        "num_hidden_layers": 32,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "vocab_size": 200064,
        "max_position_embeddings": 131072,
        "sliding_window": 262144,
        "tie_word_embeddings": True,
    },
)
LFM2_1B = Outline(
    "lfm2",
    {
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "block_ff_dim": 12288,  # transformers makes 8,192 of it
        "block_auto_adjust_ff_dim": True,
        "block_multiple_of": 256,
        "block_ffn_dim_multiplier": 1.0,
        "conv_L_cache": 3,
        "vocab_size": 65536,
        "max_position_embeddings": 128000,
        "layer_types": [_FULL if layer in (2, 5, 8, 10, 12, 14) else _CONV for layer in range(16)],
        "tie_word_embeddings": True,
    },
)
QWEN3_235B = Outline(
    "qwen3_moe",
    {
        "hidden_size": 4096,
        "num_hidden_layers": 94,
        "num_attention_heads": 64,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "intermediate_size": 12288,
        "moe_intermediate_size": 1536,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "norm_topk_prob": True,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "tie_word_embeddings": False,
    },
)


def gpt_oss(*, layers: int, experts: int) -> Outline:
    """gpt-oss, whose weights are published in MXFP4."""
    return Outline(
        "gpt_oss",
        {
            "hidden_size": 2880,
            "num_hidden_layers": layers,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "intermediate_size": 2880,
            "num_local_experts": experts,
            "num_experts_per_tok": 4,
            "vocab_size": 201088,
            "max_position_embeddings": 131072,
            "sliding_window": 128,
            "layer_types": [_SLIDING, _FULL] * (layers // 2),
            "tie_word_embeddings": False,
            "quantization_config": {"quant_method": "mxfp4"},
        },
    )


LLAMA4_SCOUT = Outline(
    "llama4",
    {
        "text_config": {
            "hidden_size": 5120,
            "num_hidden_layers": 48,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 8192,
            "intermediate_size_mlp": 16384,
            "num_local_experts": 16,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 1,
            "vocab_size": 202048,
            "tie_word_embeddings": False,
        }
    },
)
"""transformers loads it without the vision tower."""
