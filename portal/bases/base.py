"""Known bases and any other: load frozen, find the adapted linears, report widths.

Precision, stated once: a frozen base is bf16 on a GPU and fp32 on a CPU; on request it is bf16 on a CPU that
multiplies it (precision.py) or, on a GPU only, in 8 or 4 bits by bitsandbytes. Adapters, latents, core,
converters, logits and losses are fp32 everywhere; factors are cast at the point of use.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers import logging as transformers_logging
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from portal.bases.division import divide
from portal.bases.experts import idle_params
from portal.bases.files import BaseFiles, hub_error, locate
from portal.bases.geometry import Geometry
from portal.bases.layer_kinds import attention_implementation, check_causal, takes_branches
from portal.bases.model_class import is_of_a_tower, model_class
from portal.bases.operations import Operations, fuse_operations, usual_operations
from portal.bases.precision import check_precision, weights_dtype
from portal.bases.quantised_checkpoints import check_checkpoint, dequantisation
from portal.bases.registry import known_shape, public_name
from portal.bases.sites import Site, find_layer_path, find_sites, published_sites
from portal.config import Precision
from portal.device import own_gpus, prepare_cpu, prepare_gpu
from portal.messages import one_line

_QUANTISED: tuple[Precision, ...] = ("8bit", "4bit")


@dataclass(frozen=True)
class Base:
    """A frozen language model in evaluation mode, its tokenizer, and where it can be adapted."""

    name: str
    revision: str
    model: Any  # a transformers language model; its class is chosen by the checkpoint (model_class.py)
    tokenizer: PreTrainedTokenizerBase
    layer_path: str
    sites: tuple[Site, ...]
    operations: Operations = "plain"

    @property
    def public_name(self) -> str:
        """What artifacts call this base: the hub id, or the name where the weights are local."""
        return public_name(self.name)

    @property
    def device(self) -> torch.device:
        """Where the weights are; `meta` for a base without weights."""
        return next(self.model.parameters()).device

    @property
    def text_config(self) -> PretrainedConfig:
        return self.model.config.get_text_config()

    @property
    def takes_branches(self) -> bool:
        """Whether a row may hold all choices of a question (layer_kinds.py)."""
        return takes_branches(self.text_config)

    @property
    def num_layers(self) -> int:
        return len(self.model.get_submodule(self.layer_path))

    @property
    def layers(self) -> tuple[str, ...]:
        """Paths of the decoder layers."""
        return tuple(f"{self.layer_path}.{index}" for index in range(self.num_layers))

    @cached_property
    def num_decoder_params(self) -> int:
        """Parameters of the decoder layers, without embeddings and head.

        A linear layer's are counted by its widths: 4-bit weights lie packed, two in a number.
        """
        layers = self.model.get_submodule(self.layer_path)
        linears = [module for module in layers.modules() if isinstance(module, nn.Linear)]
        weights = {id(linear.weight) for linear in linears}
        others = sum(each.numel() for each in layers.parameters() if id(each) not in weights)
        return others + sum(linear.in_features * linear.out_features for linear in linears)

    @cached_property
    def num_active_params(self) -> int:
        """Those of them that a token meets: of a mixture's routed experts it meets a few."""
        layers = self.model.get_submodule(self.layer_path)
        return self.num_decoder_params - idle_params(layers, self.text_config)


def base_config(name: str, *, local_files_only: bool = False) -> PretrainedConfig:
    """The transformers config of a base; no weights are read. `local_files_only`: the hub is not asked.

    ValueError for one that cannot be read, and for that of a model whose tokens see later ones.
    """
    files = locate(name)
    try:
        config = _read_config(files, local_files_only=local_files_only)
    except (OSError, ValueError) as error:
        raise hub_error("base", name, files.location, error) from None
    check_causal(name, config)
    check_checkpoint(name, config)
    return config


def _read_config(files: BaseFiles, *, local_files_only: bool = False) -> PretrainedConfig:
    """The config as transformers reads it; code that lies beside it is never run."""
    config: PretrainedConfig = AutoConfig.from_pretrained(
        files.location, revision=files.commit, local_files_only=local_files_only, trust_remote_code=False
    )
    return config


def load_base(
    name: str,
    *,
    device: str = "cpu",
    revision: str | None = None,
    precision: Precision = "default",
    verified: bool = False,
    operations: Operations | None = None,
    num_gpus: int = 1,
) -> Base:
    """The base, frozen, in evaluation mode, with these operations, else the usual ones. Attention is sdpa, or
    eager in families without it.

    With several `num_gpus` its layers are divided over so many GPUs of this process (division.py);
    `Base.device` is then the first. On a CPU they mean nothing.

    `revision` is what `resolve` returned earlier: another digest or commit now is a ValueError, as are
    unreadable or incomplete weights (missing or unexpected tensors). `verified`: whether a local base's files
    are those of `revision` is found out elsewhere, and they are not read for that here.
    """
    check_precision(precision, device)
    files = locate(name)
    if revision is None:
        revision = files.revision()
    elif files.is_local and not verified:
        files.check(revision)
    files = replace(files, commit=None if files.is_local else revision)
    where = torch.device(device)
    gpus = own_gpus(num_gpus) if num_gpus > 1 and where.type == "cuda" else []
    return with_operations(_base(files, revision, _load_model(files, where, precision, gpus)), operations)


def quantised_base(name: str, precision: Precision, device: torch.device) -> Base:
    """The base in 8 or 4 bits; also on a CPU, where studies refuse it and bitsandbytes must be installed."""
    files = locate(name)
    return with_operations(_base(files, files.revision(), _load_model(files, device, precision)))


def with_operations(base: Base, operations: Operations | None = None) -> Base:
    """The base with these operations, else those that are usual on its device."""
    wanted = operations or usual_operations(on_gpu=base.device.type == "cuda")
    return with_fused_operations(base) if wanted == "fused" else base


def with_fused_operations(base: Base) -> Base:
    """The base after `fuse_operations` of its model; as it was where nothing of it could be replaced."""
    return replace(base, operations="fused") if fuse_operations(base.model) else base


def outline_base(name: str, *, revision: str) -> Base:
    """The base without its weights, on the device `meta`: what it adapts and how large it is.

    `revision` is taken on trust: who loads the weights checks it.
    """
    files = locate(name)
    config = base_config(name)
    with torch.device("meta"):
        model = model_class(config).from_config(config, trust_remote_code=False)
    return _base(replace(files, commit=None if files.is_local else revision), revision, model)


def _base(files: BaseFiles, revision: str, model: Any) -> Base:
    layer_path, sites = _find_layers(files.name, model)
    return Base(
        name=files.name,
        revision=revision,
        model=model,
        tokenizer=load_tokenizer(files.name, revision=files.commit),
        layer_path=layer_path,
        sites=sites,
    )


def _find_layers(name: str, model: Any) -> tuple[str, tuple[Site, ...]]:
    """The decoder layers, and what can be adapted there; ValueError, naming the base, for none."""
    try:
        path = find_layer_path(model)
        return path, find_sites(model, path)
    except ValueError as error:
        raise ValueError(f"base {name!r}: {error}") from None


@dataclass(frozen=True)
class BaseLayout:
    """The decoder layers of a base: how many there are, and what can be adapted in them."""

    num_layers: int
    sites: tuple[Site, ...]


@lru_cache(maxsize=64)
def base_layout(name: str) -> BaseLayout:
    """The layout of a base: from its published sizes where they are known, else from its config."""
    shape = known_shape(name)
    if isinstance(shape, Geometry):
        return BaseLayout(shape.layers, published_sites(shape))
    config = outline_config(name)
    try:
        with torch.device("meta"):
            model = model_class(config).from_config(config, trust_remote_code=False)
    except (ValueError, TypeError, AttributeError, KeyError, ImportError) as error:
        raise ValueError(
            f"base {name!r}: transformers makes no causal language model of its config "
            f"({one_line(error, most=200)})"
        ) from None
    path, sites = _find_layers(name, model)
    return BaseLayout(len(model.get_submodule(path)), sites)


def base_sites(name: str) -> tuple[Site, ...]:
    """What can be adapted in a base."""
    return base_layout(name).sites


@lru_cache(maxsize=64)
def base_takes_branches(name: str) -> bool:
    """Whether a row may hold all choices of a question, from the base's config."""
    config = outline_config(name)
    return takes_branches(config.get_text_config()) and attention_implementation(config) == "sdpa"


def outline_config(name: str) -> PretrainedConfig:
    """A config with the shapes of a base: from its published sizes where they are known, else `base_config`.

    It serves for predictions only: what has no part in a shape, rotary angles for one, is left at defaults.
    """
    shape = known_shape(name)
    if shape is None:
        return base_config(name)
    return AutoConfig.for_model(shape.family, **shape.config)


def hidden_width(name: str) -> int:
    """The width of a base's hidden states, from its published sizes or its config."""
    width: int = outline_config(name).get_text_config().hidden_size
    return width


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
    """Hex sha256 of the tokenizer's definition: bases that tokenise alike share it."""
    tokenizer = load_tokenizer(name)
    definition = tokenizer.backend_tokenizer.to_str()
    return hashlib.sha256(definition.encode()).hexdigest()


def _quantisation(precision: Precision) -> dict[str, Any]:
    """What from_pretrained needs for a base in this precision."""
    if precision not in _QUANTISED:
        return {}
    config = (
        # With another threshold a large value in one row takes its column out of int8 for all rows of the
        # batch: learners in a pack would change each other's numbers, and each layer waits for the host.
        BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
        if precision == "8bit"
        else BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    )
    return {"quantization_config": config}


def _places(
    config: PretrainedConfig,
    device: torch.device,
    precision: Precision,
    gpus: Sequence[int],
    *,
    is_dequantised: bool,
) -> dict[str, Any]:
    """What from_pretrained needs where weights are placed while they are read."""
    if gpus:
        with torch.device("meta"):
            outline = model_class(config).from_config(config, trust_remote_code=False)
        division = divide(outline, len(gpus), precision, weights_dtype(precision, on_gpu=True))
        return {"device_map": {name: gpus[number] for name, number in division.items()}}
    if precision not in _QUANTISED and not is_dequantised:
        return {}
    if device.type == "cuda" and torch.cuda.is_available():
        # By its number: threads that read weights do not have this one's current device.
        device = torch.device("cuda", torch.cuda.current_device())
    return {"device_map": {"": device}}


def _load_model(
    files: BaseFiles, device: torch.device, precision: Precision, gpus: Sequence[int] = ()
) -> Any:
    on_gpu = device.type == "cuda"
    if on_gpu:
        prepare_gpu()
    else:
        prepare_cpu()
    dtype = weights_dtype(precision, on_gpu=on_gpu)
    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # else each layer warns in each forward
    try:
        config = _read_config(files)
    except (OSError, ValueError) as error:
        raise hub_error("base", files.name, files.location, error) from None
    check_causal(files.name, config)
    method = check_checkpoint(files.name, config, precision)
    try:
        model, loading = model_class(config).from_pretrained(
            files.location,
            revision=files.commit,
            dtype=dtype,
            attn_implementation=attention_implementation(config),
            output_loading_info=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # so that they are named, and refused, below
            **_quantisation(precision),
            **dequantisation(method),
            **_places(config, device, precision, gpus, is_dequantised=method is not None),
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise hub_error("base", files.name, files.location, error) from None
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        wrong = sorted(loading[kind])
        if kind == "unexpected_keys":
            wrong = [each for each in wrong if not is_of_a_tower(each, config, model)]
        if wrong:
            raise ValueError(f"base {files.name!r}: weights do not fit the config, {kind}: {wrong[:3]}")
    model.requires_grad_(False)
    model.config.use_cache = False
    if precision == "4bit":
        _keep_packing(model)
    return (model if hasattr(model, "hf_device_map") else model.to(device)).eval()


def _keep_packing(model: nn.Module) -> None:
    """Keep 4-bit weights as they are quantised.

    On CPUs with AVX512-BF16 bitsandbytes packs them anew in the first forward, which widths that are no
    multiple of a block do not bear, and which a backward does not read.
    """
    linear: Any
    for linear in model.modules():
        if hasattr(linear, "support_avx512bf16_for_cpu"):
            linear.support_avx512bf16_for_cpu = False
