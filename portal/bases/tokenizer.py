"""`load_tokenizer`: the tokenizer of a base, which must be its own and put BOS where the base needs it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from portal.bases.base_config import base_config
from portal.bases.files import hub_error, locate


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
