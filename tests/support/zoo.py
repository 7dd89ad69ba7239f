"""Every family of causal language models in transformers, as a tiny random model."""

from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from portal.bases.base import Base
from portal.bases.sites import find_layer_path, find_sites
from tests.support.bases import character_tokenizer

LAYERS = 4
VOCABULARY = 128
WINDOW = 6
"""Tokens that a layer with a window sees, and tokens of a chunk: fewer than rows of the tests have."""
_SIZES: dict[str, Any] = {
    **dict.fromkeys(["hidden_size", "n_embd", "d_model", "embedding_size", "word_embed_proj_dim", "dim"], 32),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "num_heads", "swa_num_attention_heads"], 4),
    **dict.fromkeys(["num_key_value_heads", "swa_num_key_value_heads", "num_global_key_value_heads"], 2),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"], LAYERS),
    **dict.fromkeys(["intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "mlp_hidden_size"], 48),
    **dict.fromkeys(
        ["moe_intermediate_size", "shared_expert_intermediate_size", "shared_experts_intermediate_size"], 16
    ),
    **dict.fromkeys(["expert_ffn_hidden_size", "moe_shared_expert_intermediate_size"], 16),
    **dict.fromkeys(["shared_intermediate_size", "intermediate_size_mlp"], 16),
    **dict.fromkeys(["head_dim", "global_head_dim", "swa_head_dim", "attention_head_dim", "kv_channels"], 8),
    **dict.fromkeys(
        ["v_head_dim", "swa_v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "rotary_dim"], 8
    ),
    **dict.fromkeys(["q_lora_rank", "kv_lora_rank", "o_lora_rank", "mamba_dt_rank", "time_step_rank"], 12),
    **dict.fromkeys(["vocab_size", "vocab_size_per_layer_input"], VOCABULARY),
    **dict.fromkeys(["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"], 256),
    **dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"], 4),
    **dict.fromkeys(["num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k", "moe_k"], 2),
    **dict.fromkeys(["n_group", "topk_group", "num_expert_group", "n_shared_experts"], 1),
    **dict.fromkeys(["num_shared_experts", "moe_num_shared_experts"], 1),
    **dict.fromkeys(["first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"], 1),
    **dict.fromkeys(["linear_key_head_dim", "linear_value_head_dim", "linear_head_dim", "mamba_head_dim"], 8),
    **dict.fromkeys(["linear_num_key_heads", "linear_num_value_heads", "linear_num_heads"], 4),
    **dict.fromkeys(["mamba_d_state", "state_size", "ssm_state_size", "mamba_d_head"], 8),
    **dict.fromkeys(["mamba_chunk_size", "chunk_size"], 8),
    **dict.fromkeys(["mamba_n_heads", "mamba_num_heads", "n_mamba_heads"], 8),
    **dict.fromkeys(["hidden_size_per_layer_input", "index_head_dim", "laurel_rank", "d_rel"], 8),
    **dict.fromkeys(["sliding_window", "sliding_window_size", "attention_chunk_size", "window_size"], WINDOW),
    **dict.fromkeys(["pad_token_id", "bos_token_id", "eos_token_id"], 0),
}
_OF_FAMILY: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3n_text": {"num_kv_shared_layers": 2, "activation_sparsity_pattern": [0.0] * LAYERS},
    "gemma4_text": {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "minimax": {"block_size": 8},
    "qwen4_exp_text": {
        "ngram_vocab_size_base": 100,
        "split_ngram_parts": 2,
        "hc_lowrank": 8,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zaya": {"num_experts_per_tok": 1},
}


def families() -> list[str]:
    """The model types that transformers has a causal language model for."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def tiny_config(family: str, **changes: Any) -> PretrainedConfig:
    """The config of a tiny model of `family`; `changes` are of its text part."""
    usual = AutoConfig.for_model(family)
    text = usual.get_text_config(decoder=True)
    own = text.to_dict()
    sizes = {name: value for name, value in _SIZES.items() if name in own}
    if "kv_lora_rank" in own:  # heads of latent attention are as many on both sides
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    if kinds := own.get("layer_types"):  # each kind that the family's own depth has
        distinct = list(dict.fromkeys(kinds))
        sizes["layer_types"] = (distinct * LAYERS)[:LAYERS]
    sizes |= _OF_FAMILY.get(text.model_type, {}) | changes
    if text is usual:
        return AutoConfig.for_model(family, **sizes)
    return AutoConfig.for_model(family, text_config={"model_type": text.model_type, **sizes})


def tiny_model(family: str, **changes: Any) -> Any:
    """A random model of `family` in evaluation mode, frozen, the same at every call."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(family, **changes))
    return model.requires_grad_(False).eval()


def tiny_base(family: str) -> Base:
    """The tiny model of `family` as a base whose adapters change its logits by more than rounding does."""
    model = tiny_model(family)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)  # the usual start leaves logits nearly uniform
    model.config.use_cache = False
    path = find_layer_path(model)
    tokenizer = character_tokenizer(bos=False)
    return Base(family, f"digest-{family}", model, tokenizer, path, find_sites(model, path))


def left_out() -> dict[str, str]:
    """Why a family is not supported, or not tried, by its model type."""
    reasons: dict[str, list[str]] = yaml.safe_load((Path(__file__).parent / "zoo_left_out.yaml").read_text())
    return {family: reason for reason, families in reasons.items() for family in families}


def supported() -> list[str]:
    """All families that are not left out."""
    return [family for family in families() if family not in left_out()]


def rewritten_by_peft() -> set[str]:
    """Model types of mixtures in which peft does not find the shared experts that an adapter is for.

    It has a list of those whose feed-forward names it rewrites; in others it renames tensors that it reads.
    """
    from peft.utils import transformers_weight_conversion as conversion

    return {"laguna"} | {
        family
        for family, pattern in conversion._MODEL_TO_CONVERSION_PATTERN.items()
        if pattern in conversion._MOE_TARGET_MODULE_MAPPING
    }
