"""A GGUF file as a model folder: converted once into a cache, verified by digest ever after.

The folder holds what the file's weights are after dequantisation, in fp32, with a config and a tokenizer
made from the file's metadata. The cache is `$PORTAL_CACHE`, else `portal` in `$XDG_CACHE_HOME` or
`~/.cache`.

The tokenizer is built from the file's lists as the model's own `tokenizer.json` is. transformers' reader
takes minutes for a vocabulary of 262,144 and leaves out the digit splitting of some byte-level
vocabularies; both kinds are built here directly. Formats: llama.cpp's `gguf` metadata names.
"""

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from portal.bases.gguf_files import GgufFile
from portal.messages import one_line
from portal.storage.atomic import only_one, write_json_atomic
from portal.storage.paths import cache_folder, file_sha256, files_sha256

FORMAT = 1  # of converted folders; another number converts anew
_MANIFEST = "manifest.json"


def converted(path: Path) -> tuple[Path, str]:
    """(model folder, hex sha256 of the GGUF file); converts the file when the cache has no folder of it.

    ValueError for a file that cannot be read or converted exactly.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such GGUF file")
    status = path.stat()
    digest = _digest(path, status.st_size, status.st_mtime_ns)
    folder = cache_folder() / "gguf" / f"{digest[:20]}-{FORMAT}"
    if not (folder / _MANIFEST).is_file():
        with only_one(cache_folder() / "locks" / folder.name):  # the workers of a node want it together
            if not (folder / _MANIFEST).is_file():
                folder.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as scratch:
                    _convert(path, Path(scratch) / "model")
                    _publish(Path(scratch) / "model", folder)
    return folder, digest


def verify(folder: Path) -> None:
    """ValueError when a file of a converted folder is absent or is not what the conversion wrote."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder}: no readable manifest ({error}); delete the folder") from None
    paths = [folder / name for name in manifest]
    damaged = [path for path in paths if not path.is_file()]
    if not damaged:
        found = zip(paths, files_sha256(paths), strict=True)
        damaged = [path for path, digest in found if digest != manifest[path.name]]
    if damaged:
        raise ValueError(f"{damaged[0]}: damaged since the conversion; delete {folder}")


@cache
def _digest(path: Path, size_bytes: int, mtime_ns: int) -> str:
    """The file's digest, read once while its size and time stay what they are."""
    return file_sha256(path)


def _convert(path: Path, folder: Path) -> None:
    file = GgufFile(path)
    file.check_types()
    build_tokenizer(file).save_pretrained(folder)
    model = _load(path)
    model.hf_quantizer = None  # with it, and the key below, transformers refuses to save
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    names = sorted(entry.name for entry in folder.iterdir())
    write_json_atomic(folder / _MANIFEST, {name: file_sha256(folder / name) for name in names})


def _load(path: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except (ValueError, KeyError, RuntimeError, ImportError) as error:  # what transformers' reader raises
        raise ValueError(f"{path}: cannot be converted ({one_line(error)})") from None
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if wrong := sorted(loading[kind])[:3]:
            raise ValueError(f"{path}: its weights do not fit its config, {kind}: {wrong}")
    return model


def _publish(made: Path, folder: Path) -> None:
    """Rename into place; when another process was quicker, its folder stays."""
    try:
        made.rename(folder)
    except OSError:
        if not (folder / _MANIFEST).is_file():
            raise
        shutil.rmtree(made)


_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's token types
_GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_PATTERN = _LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
_PATTERNS = {
    "gpt-2": (_GPT2_PATTERN, False),
    "smollm": (_GPT2_PATTERN, True),
    "llama-bpe": (_LLAMA3_PATTERN, False),
    "qwen2": (_QWEN2_PATTERN, False),
}
"""By `tokenizer.ggml.pre`: how text is cut before merging, and whether digits stand alone first."""


def build_tokenizer(file: GgufFile) -> PreTrainedTokenizerFast:
    """The file's tokenizer; ValueError for a kind that cannot be built exactly."""
    kind = file.value("tokenizer.ggml.model")
    tokens: list[str] = file.value("tokenizer.ggml.tokens")
    if kind == "gpt2":
        tokenizer = _byte_level(file, tokens)
    elif kind == "llama" and file.architecture.startswith("gemma"):
        tokens, tokenizer = _sentence_pieces(file, tokens)
    else:
        raise ValueError(
            f"{file.path}: its tokenizer ({kind!r} for {file.architecture!r}) cannot be built exactly; "
            "convert the file to a folder with the model's own tokenizer.json, and name that"
        )
    _add_tokens(file, tokenizer, tokens)
    _add_bos(file, tokenizer, tokens)
    special: dict[str, str | None] = {}
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        index = file.optional(f"tokenizer.ggml.{key}_token_id")
        special[f"{name}_token"] = None if index is None else tokens[index]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def piece_merges(tokens: list[str], scores: list[float]) -> list[tuple[str, str]]:
    """Merges that give a vocabulary of scored pieces: every way to join two pieces to a third.

    Better scored pieces are made first; of one piece's splits, the one with the longest left part.
    """
    index = {token: position for position, token in enumerate(tokens)}
    ranked: list[tuple[float, int, int, int, str, str]] = []
    for token, score in zip(tokens, scores, strict=True):
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in index and right in index:
                ranked.append((-score, -cut, index[left], index[right], left, right))
    ranked.sort()
    return [(left, right) for *_, left, right in ranked]


def _byte_level(file: GgufFile, tokens: list[str]) -> Tokenizer:
    cut = file.optional("tokenizer.ggml.pre")
    if cut not in _PATTERNS:
        raise ValueError(
            f"{file.path}: its tokenizer cuts text in a way that is not known here ({cut!r}; known: "
            f"{', '.join(_PATTERNS)}); convert the file to a folder with its own tokenizer.json and name that"
        )
    pattern, lone_digits = _PATTERNS[cut]
    merges = [tuple(merge.split(" ")) for merge in file.value("tokenizer.ggml.merges")]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    cuts: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if lone_digits else []
    cuts.append(pre_tokenizers.Split(Regex(pattern), behavior="isolated"))
    cuts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_pieces(file: GgufFile, tokens: list[str]) -> tuple[list[str], Tokenizer]:
    """The pieces as the model's own file writes them, and their tokenizer.

    User-defined pieces have no score; they are made before all others, long ones first. llama.cpp writes
    their spaces as such.
    """
    defined = [kind == _USER_DEFINED for kind in file.value("tokenizer.ggml.token_type")]
    tokens = [token.replace(" ", "▁") if mine else token for token, mine in zip(tokens, defined, strict=True)]
    scores = [
        float(len(token)) if mine else score
        for token, score, mine in zip(tokens, file.value("tokenizer.ggml.scores"), defined, strict=True)
    ]
    merges, vocabulary = piece_merges(tokens, scores), {token: index for index, token in enumerate(tokens)}
    unknown = tokens[file.value("tokenizer.ggml.unknown_token_id")]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokens, tokenizer


def _add_tokens(file: GgufFile, tokenizer: Tokenizer, tokens: list[str]) -> None:
    """Control and user-defined tokens are found in a text before anything is merged."""
    types: list[int] = file.value("tokenizer.ggml.token_type")
    added = [
        AddedToken(token, normalized=False, special=kind == _CONTROL)
        for token, kind in zip(tokens, types, strict=True)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    tokenizer.add_special_tokens([token for token in added if token.special])
    tokenizer.add_tokens([token for token in added if not token.special])


def _add_bos(file: GgufFile, tokenizer: Tokenizer, tokens: list[str]) -> None:
    if not file.optional("tokenizer.ggml.add_bos_token"):
        return
    index = file.value("tokenizer.ggml.bos_token_id")
    bos = tokens[index]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, index)]
    )
