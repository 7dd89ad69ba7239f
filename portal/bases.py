"""Known bases and any other: load frozen, find the adapted linears, report widths.

Precision, stated once: a frozen base is bf16 on a GPU and fp32 on a CPU; adapters, latents, core, converters
and losses are fp32 everywhere and are cast at the point of use.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers import logging as transformers_logging

from portal.checkpoint import file_sha256
from portal.config import BaseRef, nearest
from portal.sites import Site, find_layer_path, find_sites

MINI_FOLDER = Path(__file__).parent / "mini" / "bases"
_WEIGHT_FILES = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class KnownBase:
    """A base with a short name. `location` is a hub id, or a folder for the embedded ones."""

    name: str
    location: str
    revision: str | None  # full hub commit; None: identified by the digest of its files
    licence: str
    about: str


KNOWN = {
    base.name: base
    for base in (
        KnownBase(
            "mini-qwen3-xs", str(MINI_FOLDER / "mini-qwen3-xs"), None, "Apache-2.0", "embedded, smallest"
        ),
        KnownBase("mini-qwen3-s", str(MINI_FOLDER / "mini-qwen3-s"), None, "Apache-2.0", "embedded, small"),
        KnownBase("mini-qwen3-m", str(MINI_FOLDER / "mini-qwen3-m"), None, "Apache-2.0", "embedded, larger"),
        KnownBase(
            "mini-gemma3", str(MINI_FOLDER / "mini-gemma3"), None, "Apache-2.0", "embedded, other family"
        ),
        KnownBase(
            "qwen3-1.7b", "Qwen/Qwen3-1.7B", "70d244cc86ccca08cf5af4e1e306ecf908b1ad5e", "Apache-2.0", "hub"
        ),
        KnownBase(
            "qwen3-4b", "Qwen/Qwen3-4B", "1cfa9a7208912126459214e8b04321603b3df60c", "Apache-2.0", "hub"
        ),
        KnownBase(
            "qwen3-8b", "Qwen/Qwen3-8B", "b968826d9c46dd6066d109eabc6255188de91218", "Apache-2.0", "hub"
        ),
        KnownBase(
            "gemma-3-4b",
            "google/gemma-3-4b-pt",
            "cc012e0a6d0787b4adcc0fa2c4da74402494554d",
            "Gemma terms",
            "hub",
        ),
        KnownBase(
            "mistral-7b",
            "mistralai/Mistral-7B-v0.3",
            "caa1feb0e54d415e2df31207e5f4e273e33509b1",
            "Apache-2.0",
            "hub",
        ),
    )
}


@dataclass(frozen=True)
class Base:
    """A frozen language model in evaluation mode, its tokenizer, and where it can be adapted."""

    name: str
    revision: str
    location: str  # hub id or folder, as written into artifacts
    model: Any  # a transformers causal language model; its class is chosen by the checkpoint
    tokenizer: PreTrainedTokenizerBase
    layer_path: str
    sites: tuple[Site, ...]

    @property
    def public_name(self) -> str:
        """What artifacts call this base: the hub id, or the name where the weights are local."""
        return self.name if Path(self.location).is_dir() else self.location

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def text_config(self) -> PretrainedConfig:
        return self.model.config.get_text_config()

    @property
    def num_layers(self) -> int:
        return len(self.model.get_submodule(self.layer_path))

    @cached_property
    def num_decoder_params(self) -> int:
        """Parameters of the decoder layers, without embeddings and head."""
        return sum(p.numel() for p in self.model.get_submodule(self.layer_path).parameters())


def locate(name: str) -> tuple[str, str | None]:
    """(location, pinned revision) of a known name, a folder, or a hub id.

    Raises ValueError with the nearest known name when `name` is none of them.
    """
    if name in KNOWN:
        known = KNOWN[name]
        if Path(known.location).is_absolute() and not Path(known.location).is_dir():
            raise ValueError(
                f"base {name!r} is embedded, but {known.location} is missing: install the package anew, or "
                "rebuild it with `python -m portal.mini.pretrain`"
            )
        return known.location, known.revision
    if Path(name).is_dir():
        return str(Path(name)), None
    if name.count("/") == 1 and not name.startswith((".", "/")) and not name.endswith("/"):
        return name, None
    raise ValueError(
        f"unknown base {name!r}{nearest(name, KNOWN)} (or a folder, or a hub id like 'org/model')"
    )


def resolve(name: str) -> BaseRef:
    """`name` pinned: the hub commit of a hub base, the digest of the files of a local one."""
    location, revision = locate(name)
    if Path(location).is_dir():
        return BaseRef(name=name, revision=folder_digest(Path(location)))
    return BaseRef(name=name, revision=revision or _hub_commit(location))


def folder_digest(folder: Path) -> str:
    """Hex sha256 over the names and digests of a model folder's weights, config and tokenizer."""
    paths = sorted(path for pattern in _WEIGHT_FILES for path in folder.glob(pattern))
    if not any(path.suffix == ".safetensors" for path in paths):
        raise ValueError(f"{folder}: no safetensors weights in this folder")
    lines = [f"{path.name} {file_sha256(path)}" for path in paths]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def base_config(name: str) -> PretrainedConfig:
    """The transformers config of a base; no weights are read."""
    location, revision = locate(name)
    try:
        return AutoConfig.from_pretrained(location, revision=revision)
    except (OSError, ValueError) as error:
        raise ValueError(_unreadable(name, location, error)) from None


def load_base(name: str, *, device: str = "cpu", revision: str | None = None) -> Base:
    """The base, frozen, in evaluation mode, with sdpa attention.

    `revision` is what `resolve` returned earlier: another digest or commit now is a ValueError, as are
    unreadable or incomplete weights (missing or unexpected tensors).
    """
    location, pinned = locate(name)
    local = Path(location).is_dir()
    found = folder_digest(Path(location)) if local else revision or pinned or _hub_commit(location)
    if revision is not None and found != revision:
        raise ValueError(
            f"base {name!r}: its files have digest {found[:12]}, the run was planned with {revision[:12]}"
        )
    model = _load_model(name, location, None if local else found, torch.device(device))
    layer_path = find_layer_path(model)
    return Base(
        name=name,
        revision=found,
        location=location,
        model=model,
        tokenizer=load_tokenizer(name, revision=None if local else found),
        layer_path=layer_path,
        sites=find_sites(model, layer_path),
    )


def base_sites(name: str) -> tuple[Site, ...]:
    """The adaptable sites of a base from its config alone: the model is built without weights."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(base_config(name))
    return find_sites(model, find_layer_path(model))


def load_tokenizer(name: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The base's tokenizer, of the hub commit `revision` or else the pinned one.

    ValueError when a Gemma tokenizer does not really add its BOS.
    """
    location, pinned = locate(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(location, revision=revision or pinned)
    except (OSError, ValueError) as error:
        raise ValueError(_unreadable(name, location, error)) from None
    first = tokenizer("x").input_ids[0]
    if "gemma" in base_config(name).model_type and first != tokenizer.bos_token_id:
        raise ValueError(f"base {name!r}: its tokenizer does not put BOS first, which Gemma needs")
    return tokenizer


def tokenizer_digest(name: str) -> str:
    """Hex sha256 of the tokenizer's definition: bases that tokenise alike share it."""
    tokenizer = load_tokenizer(name)
    definition = tokenizer.backend_tokenizer.to_str()
    return hashlib.sha256(definition.encode()).hexdigest()


def _load_model(name: str, location: str, revision: str | None, device: torch.device) -> Any:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    transformers_logging.disable_progress_bar()
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            location,
            revision=revision,
            dtype=dtype,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are named, and refused, below
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ValueError(_unreadable(name, location, error)) from None
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading[kind]:
            raise ValueError(
                f"base {name!r}: weights do not fit the config, {kind}: {sorted(loading[kind])[:3]}"
            )
    model.requires_grad_(False)
    model.config.use_cache = False
    return model.to(device).eval()


def _hub_commit(location: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if os.environ.get("HF_HUB_OFFLINE") == "1":
        raise ValueError(
            f"base {location!r} has no pinned revision and the hub is switched off (HF_HUB_OFFLINE=1)"
        )
    try:
        sha = HfApi().model_info(location).sha
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        raise ValueError(_unreadable(location, location, error)) from None
    if sha is None:
        raise ValueError(f"base {location!r}: the hub names no commit for it")
    return sha


def _unreadable(name: str, location: str, error: BaseException) -> str:
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"base {name!r}: cannot be read from {location!r}: {reason}"
