"""What kinds of layers a base has, and what a row may hold in them: all choices of a question, or one."""

from dataclasses import fields
from typing import Any

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    PretrainedConfig,
)

from portal.bases.model_class import IMAGE_FAMILIES

FULL, SLIDING = "full_attention", "sliding_attention"
BRANCHING = frozenset(
    """
    afmoe apertus apertus1p5_text arcee aria_text axk1 biogpt bitnet codegen cohere cohere2 cohere2_moe
    cwm deepseek_v2 deepseek_v3 diffllama dory dots1 emu3_text_model ernie4_5 ernie4_5_moe exaone
    exaone4 exaone_moe flex_olmo gemma gemma3_text gemma3n_text gemma4_text gemma4_unified_text glm glm4
    glm4_moe glm4_moe_lite gpt2 gpt_bigcode gpt_neox gptj granite granitemoe granitemoeshared helium
    hunyuan_v1_dense hunyuan_v1_moe hy_v3 hyperclovax internlm3 iquestcoder jais2 kolibri1 laguna lfm2
    llama mellum minicpm3 minimax_m2 minimax_m3_vl_text ministral ministral3 mistral mixtral
    nanochat nemotron olmo olmo2 olmo3 olmoe persimmon phi phi3 phimoe qwen2
    qwen2_moe qwen3 qwen3_moe sarvam_mla sarvam_moe seed_oss smollm3 solar_open stablelm starcoder2
    youtu
    """.split()  # noqa: SIM905
)
"""Model types of text models that attend by masks and positions alone."""


def takes_branches(config: PretrainedConfig) -> bool:
    """Whether a row may hold all choices of a question, kept apart by an attention mask.

    That is where every layer attends by such a mask and by given positions, and by nothing else: families of
    which it was found out (`make zoo`), without layers of another kind. In others a row holds one choice.
    `config` is that of the text model, and says which attention a loaded model has: masks are for sdpa.
    """
    attention = config._attn_implementation or "sdpa"
    kinds = layer_kinds(config) or set()
    is_causal = not getattr(config, "use_bidirectional_attention", None)
    known = config.model_type in BRANCHING and kinds <= {FULL, SLIDING}
    return known and is_causal and attention == "sdpa"


def check_causal(name: str, config: PretrainedConfig) -> None:
    """ValueError for a model whose tokens see later ones: scores of a row would depend on its padding.

    `config` is that of the whole model. Gemma 4's "vision" is about tokens of images, which no row has.
    """
    if config.is_encoder_decoder:
        raise ValueError(f"base {name!r}: {config.model_type} is an encoder-decoder model, which is no base")
    if getattr(config.get_text_config(), "use_bidirectional_attention", None) in (True, "all"):
        raise ValueError(
            f"base {name!r}: its layers attend in both directions (use_bidirectional_attention); a base has "
            "to be a causal language model"
        )


def layer_kinds(config: PretrainedConfig) -> set[str] | None:
    """The kinds of layers; None for a family whose configs list none."""
    kinds = _declared(config, "layer_types")
    return None if kinds is None else set(kinds)


def window_of(config: PretrainedConfig) -> int | None:
    """Tokens that a layer with a sliding window sees; None for a family that has none."""
    window: int | None = _declared(config, "sliding_window")
    return window


def _declared(config: PretrainedConfig, name: str) -> Any:
    """A key of the config that its family has; None for a stray one, which the model does not read."""
    declared = {field.name for field in fields(type(config))}
    return getattr(config, name, None) if name in declared else None


def attention_implementation(config: PretrainedConfig) -> str:
    """`sdpa`, or `eager` for a family that has nothing else; `config` is that of the whole model."""
    sees = config.model_type in IMAGE_FAMILIES
    models = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING if sees else MODEL_FOR_CAUSAL_LM_MAPPING
    model = models.get(type(config), None)
    return "sdpa" if model is None or model._supports_sdpa else "eager"
