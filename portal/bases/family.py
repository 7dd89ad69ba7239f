"""What family a base is of: its config, its class in transformers, its kinds of layers, and its tokenizer.

`base_config` reads the config, and `outline_config` knows its shapes without a file. `base_layout` says what
can be adapted, `model_class` what makes the model, `takes_branches` what a row may hold, `check_checkpoint`
which quantised weights are read, and `load_tokenizer` gives the tokenizer that the config fits.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    FineGrainedFP8Config,
    Mxfp4Config,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from portal.bases.files import BaseFiles, hub_error, locate
from portal.bases.precision import QUANTISED
from portal.bases.registry import published_config
from portal.bases.sites import Site, find_layer_path, find_sites
from portal.config import Precision
from portal.lazy import no_collection
from portal.messages import one_line


def base_config(name: str, *, local_files_only: bool = False) -> PretrainedConfig:
    """The transformers config of a base; no weights are read. `local_files_only`: the hub is not asked.

    ValueError for one that cannot be read, and for that of a model whose tokens see later ones.
    """
    return read_config(locate(name), local_files_only=local_files_only)


def read_config(files: BaseFiles, *, local_files_only: bool = False) -> PretrainedConfig:
    """`base_config` of these files. Code that lies beside them is never run."""
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            files.location, revision=files.commit, local_files_only=local_files_only, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise hub_error("base", files.name, files.location, error) from None
    check_causal(files.name, config)
    check_checkpoint(files.name, config)
    return config


def outline_config(name: str) -> PretrainedConfig:
    """A config with the shapes of a base: from its published config where that is known, else `base_config`.

    It serves for predictions only: what has no part in a shape, rotary angles for one, is left at defaults.
    """
    published = published_config(name)
    return base_config(name) if published is None else AutoConfig.for_model(**published)


@dataclass(frozen=True)
class BaseLayout:
    """The decoder layers of a base: how many there are, and what can be adapted in them."""

    num_layers: int
    sites: tuple[Site, ...]


@lru_cache(maxsize=64)
def base_layout(name: str) -> BaseLayout:
    """The layout of a base: from its published config where that is known, else from its own."""
    config = outline_config(name)
    try:
        with no_collection():  # the first one of a family imports its modules
            model = outline_model(config)
    except (ValueError, TypeError, AttributeError, KeyError, ImportError) as error:
        raise ValueError(
            f"base {name!r}: transformers makes no causal language model of its config "
            f"({one_line(error, most=200)})"
        ) from None
    path, sites = find_layers(name, model)
    return BaseLayout(len(model.get_submodule(path)), sites)


def base_sites(name: str) -> tuple[Site, ...]:
    """What can be adapted in a base."""
    return base_layout(name).sites


@lru_cache(maxsize=64)
def base_takes_branches(name: str) -> bool:
    """Whether a row may hold all choices of a question, from the base's config."""
    config = outline_config(name)
    return takes_branches(config.get_text_config()) and attention_implementation(config) == "sdpa"


def find_layers(name: str, model: Any) -> tuple[str, tuple[Site, ...]]:
    """The decoder layers, and what can be adapted there; ValueError, naming the base, for none."""
    try:
        path = find_layer_path(model)
        return path, find_sites(model, path)
    except ValueError as error:
        raise ValueError(f"base {name!r}: {error}") from None


IMAGE_FAMILIES = frozenset({"mistral3"})
"""Model types of which transformers has no causal language model, and whose models read text alone as well,
as tests show. Others of that kind need images, or were not tried."""
_TOWERS = ("vision_model.", "multi_modal_projector.")


def model_class(config: PretrainedConfig) -> Any:
    """The auto class that makes a model of this config: with what sees images where that is the only way."""
    return AutoModelForImageTextToText if config.model_type in IMAGE_FAMILIES else AutoModelForCausalLM


def outline_model(config: PretrainedConfig) -> Any:
    """The model of this config without weights, on the device meta."""
    with torch.device("meta"):
        return model_class(config).from_config(config, trust_remote_code=False)


def is_of_a_tower(weight: str, config: PretrainedConfig, model: Any) -> bool:
    """Whether a weight that `model` has no place for is that of a vision tower around its decoder.

    Of Llama 4's config transformers makes the decoder alone, and does not say that it leaves out the rest.
    """
    return type(model.config) is not type(config) and weight.startswith(_TOWERS)


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


_DEQUANTISED = {"mxfp4": Mxfp4Config, "fp8": FineGrainedFP8Config}
"""What transformers turns into whole weights: it does not train on MXFP4, and FP8 would round inputs, too."""


def check_checkpoint(name: str, config: PretrainedConfig, precision: Precision = "default") -> str | None:
    """How the base's published weights are quantised; None where they are not.

    ValueError for a format that is not dequantised, and for a second quantisation by `precision`.
    """
    found = getattr(config, "quantization_config", None)
    if found is None:
        return None
    method = str((found if isinstance(found, dict) else found.to_dict()).get("quant_method"))
    if method not in _DEQUANTISED:
        raise ValueError(
            f"base {name!r}: its weights are quantised by {method!r}; only those by "
            f"{', '.join(_DEQUANTISED)} are dequantised. Take the checkpoint that it was made from"
        )
    if precision in QUANTISED:
        raise ValueError(
            f"base {name!r}: its weights are quantised by {method!r} already; precision {precision!r} would "
            "quantise them a second time"
        )
    return method


def dequantisation(method: str | None) -> dict[str, Any]:
    """What from_pretrained needs to read weights that are quantised by `method`, of `check_checkpoint`."""
    return {} if method is None else {"quantization_config": _DEQUANTISED[method](dequantize=True)}


def load_tokenizer(
    name: str, *, revision: str | None = None, local_files_only: bool = False
) -> PreTrainedTokenizerBase:
    """The base's tokenizer, of the hub commit `revision` or else the pinned one.

    `local_files_only`: the hub is not asked, only its cache on this machine is read. ValueError when the
    tokenizer cannot belong to the base: tokens beyond the base's vocabulary, another BOS, or none in front
    where the tokenizer's settings or the family ask for one.
    """
    files = locate(name)
    place: dict[str, Any] = {"revision": revision or files.commit, "local_files_only": local_files_only}
    try:
        tokenizer = AutoTokenizer.from_pretrained(files.location, trust_remote_code=False, **place)
        settings = get_tokenizer_config(files.location, **place)
    except (OSError, ValueError) as error:
        raise hub_error("base", name, files.location, error) from None
    _restore_bos(tokenizer, settings)
    config = base_config(name, local_files_only=local_files_only)
    _check_tokenizer(name, tokenizer, config.get_text_config())
    return tokenizer


def _restore_bos(tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any]) -> None:
    """Put BOS first where the tokenizer's settings say so and transformers has lost it.

    A byte-level tokenizer that names the class of Llama's, as DeepSeek V3's does, is loaded by another class,
    which does not read `add_bos_token`.
    """
    named = str(settings.get("tokenizer_class")).startswith("LlamaTokenizer")
    wanted = named and settings.get("add_bos_token") and tokenizer.bos_token is not None
    if wanted and tokenizer("x").input_ids[0] != tokenizer.bos_token_id:
        tokenizer.add_bos_token = True


def _check_tokenizer(name: str, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    added = set(tokenizer.get_added_vocab().values())  # a text-only Gemma's tokenizer has one for images, too
    highest = max((index for index in tokenizer.get_vocab().values() if index not in added), default=None)
    if highest is None:
        raise ValueError(f"base {name!r}: it comes without a tokenizer, or with an empty one")
    if highest >= config.vocab_size:
        raise ValueError(
            f"base {name!r}: its tokenizer has token {highest}, the model only {config.vocab_size}: "
            "the tokenizer belongs to another base"
        )
    if None not in (tokenizer.bos_token_id, config.bos_token_id) and (
        tokenizer.bos_token_id != config.bos_token_id
    ):
        raise ValueError(
            f"base {name!r}: BOS is {tokenizer.bos_token_id} in its tokenizer and {config.bos_token_id} "
            "in its config: the tokenizer belongs to another base"
        )
    wants_bos = "gemma" in config.model_type or getattr(tokenizer, "add_bos_token", False) is True
    if wants_bos and tokenizer("x").input_ids[0] != tokenizer.bos_token_id:
        raise ValueError(f"base {name!r}: its tokenizer does not put BOS first, which it needs")


def tokenizer_digest(name: str) -> str:
    """Hex sha256 of the tokenizer's definition, end token and chat template: bases that make the same tokens
    of all rows share it.
    """
    tokenizer = load_tokenizer(name)
    whole = [tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token, tokenizer.chat_template]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()
