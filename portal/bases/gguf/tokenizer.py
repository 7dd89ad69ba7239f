"""The tokenizer that a GGUF file holds as lists, built from them as the model's own `tokenizer.json` is.

transformers' reader takes minutes for a vocabulary of 262,144 and leaves out the digit splitting of some
byte-level vocabularies; both kinds are built here directly. Formats: llama.cpp's `gguf` metadata names.
"""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from portal.bases.gguf.reader import GgufFile

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
    special = {
        f"{name}_token": None if index is None else tokens[index]
        for name, index in (
            (name, file.optional(f"tokenizer.ggml.{key}_token_id"))
            for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
        )
    }
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
    tokenizer = Tokenizer(
        models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *([pre_tokenizers.Digits(individual_digits=True)] if lone_digits else []),
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
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
    merges = piece_merges(tokens, scores)
    unknown = tokens[file.value("tokenizer.ggml.unknown_token_id")]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=merges,
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
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
