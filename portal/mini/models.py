"""The four bases before training: real transformers configs at toy size, by name."""

from transformers import Gemma3TextConfig, PretrainedConfig, Qwen3Config

MINI_BASES = ("mini-qwen3-xs", "mini-qwen3-s", "mini-qwen3-m", "mini-gemma3")
CONTEXT = 512
_QWEN_SHAPES = {
    "mini-qwen3-xs": {"hidden_size": 64, "num_hidden_layers": 3, "head_dim": 16, "intermediate_size": 192},
    "mini-qwen3-s": {"hidden_size": 96, "num_hidden_layers": 4, "head_dim": 32, "intermediate_size": 256},
    "mini-qwen3-m": {"hidden_size": 128, "num_hidden_layers": 6, "head_dim": 32, "intermediate_size": 352},
}


def mini_config(name: str, vocab_size: int, *, bos: int | None, eos: int, pad: int) -> PretrainedConfig:
    """The config of that base: 4 query and 2 key-value heads, tied embeddings; KeyError if unknown."""
    tokens = {"vocab_size": vocab_size, "bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad}
    if name == "mini-gemma3":
        return Gemma3TextConfig(
            **tokens,
            hidden_size=112,
            num_hidden_layers=5,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            query_pre_attn_scalar=32,
            intermediate_size=320,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention"] * 2 + ["full_attention"],
            max_position_embeddings=CONTEXT,
            initializer_range=0.05,
            tie_word_embeddings=True,
        )
    return Qwen3Config(
        **tokens,
        **_QWEN_SHAPES[name],
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.05,
        tie_word_embeddings=True,
    )
