"""How an embedded base is made from nothing but text: blueprint, tokenizer, optimisers, loop.

Everything is drawn from fixed seeds, on one thread.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3_5TextConfig,
    Qwen3Config,
)

CONTEXT = 512
_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
Family = Literal["qwen3", "qwen3_5", "gemma3"]
_CONFIGS: dict[Family, type[PretrainedConfig]] = {
    "qwen3": Qwen3Config,
    "qwen3_5": Qwen3_5TextConfig,
    "gemma3": Gemma3TextConfig,
}


@dataclass(frozen=True)
class Recipe:
    """How a base is trained: linear warm-up, then a cosine to a twentieth of the peak learning rates."""

    steps: int
    batch_size: int = 16
    length: int = 64
    lr: float = 4e-3
    muon_lr: float = 3e-2
    warmup: int = 100
    weight_decay: float = 0.05
    clip_norm: float = 1.0

    def share_at(self, step: int) -> float:
        """Learning rate of a step, 0-based, as a share of its peak."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Blueprint:
    """Everything that decides a base, beside the text that it reads.

    `shape` holds the settings of the family's config that give the model its size; `vocab_size` is that of
    the tokenizer, which is trained on the same text.
    """

    name: str
    family: Family
    shape: dict[str, Any]
    vocab_size: int
    recipe: Recipe

    def config(self, tokenizer: PreTrainedTokenizerFast) -> PretrainedConfig:
        """The model's config with 4 query and 2 key-value heads and tied embeddings."""
        settings = {
            **self.shape,
            **_HEADS,
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "max_position_embeddings": CONTEXT,
            "initializer_range": 0.05,
            "tie_word_embeddings": True,
        }
        return _CONFIGS[self.family](**settings)


def gemma_shape(hidden_size: int, layers: int, intermediate_size: int, window: int) -> dict[str, Any]:
    """A Gemma-3 of `layers` layers: sliding and full attention in turn, the last layer full."""
    turns = ["sliding_attention", "full_attention"] * layers
    return {
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "intermediate_size": intermediate_size,
        "sliding_window": window,
        "layer_types": [*turns[: layers - 1], "full_attention"],
    }


def hybrid_shape(hidden_size: int, layers: int, intermediate_size: int) -> dict[str, Any]:
    """A Qwen3.5 of `layers` layers: of every three, two of linear attention (Gated DeltaNet) and one full."""
    turns = ["linear_attention", "linear_attention", "full_attention"] * layers
    return {
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "head_dim": 32,
        "intermediate_size": intermediate_size,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
        "layer_types": turns[:layers],
    }


_WORDS = r" ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]+|\s"


def train_qwen_tokenizer(documents: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE on words with their leading space; every string encodes; no BOS."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")


def train_gemma_tokenizer(documents: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """BPE on words with a visible mark for a space, bytes for unseen characters, <bos> before every text."""
    tokenizer = Tokenizer(BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("▁", behavior="merged_with_next"),
            pre_tokenizers.Split(Regex(r"▁?[A-Za-z]+|▁?[^A-Za-z]"), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = BpeTrainer(vocab_size=vocab_size, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A",
        pair="<bos> $A <bos> $B",
        special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


DrawDocuments = Callable[[], Iterator[str]]
"""Starts the corpus from its beginning: plain texts without end."""
_TOKENIZER_DOCUMENTS = 40_000
_TOKENIZE_AT_ONCE = 2000


def packed_sequences(
    documents: Iterator[str], tokenizer: PreTrainedTokenizerFast, length: int
) -> Iterator[list[int]]:
    """Token lists of that length: whole documents, each ended by <eos>; the last one of a sequence is cut."""
    sequence: list[int] = []
    while True:
        texts = list(itertools.islice(documents, _TOKENIZE_AT_ONCE))
        for ids in tokenizer(texts).input_ids:
            sequence += [*ids, tokenizer.eos_token_id]
            if len(sequence) >= length:
                yield sequence[:length]
                sequence = []


def pretrain(
    blueprint: Blueprint, tokenizer: PreTrainedTokenizerFast, draw_documents: DrawDocuments
) -> PreTrainedModel:
    """The trained base, fp32. Prints a line every 100 steps; everything is drawn from fixed seeds."""
    torch.manual_seed(0)
    recipe = blueprint.recipe
    model = AutoModelForCausalLM.from_config(
        blueprint.config(tokenizer), attn_implementation="sdpa", dtype=torch.float32
    )
    optimizers = build_optimizers(model, recipe)
    sequences = packed_sequences(draw_documents(), tokenizer, recipe.length)
    start, running = time.monotonic(), 0.0
    for step in range(recipe.steps):
        batch = torch.tensor(list(itertools.islice(sequences, recipe.batch_size)))  # (B, S)
        loss = _next_token_loss(model, batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"base {blueprint.name!r}: loss {loss.item()} at step {step}")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * recipe.share_at(step)
            optimizer.step()
            optimizer.zero_grad()
        running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            print(
                f"{blueprint.name} step {step + 1}/{recipe.steps} loss {running:.3f} "
                f"{time.monotonic() - start:.0f} s",
                flush=True,
            )
    return model


def build_optimizers(model: PreTrainedModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=recipe.weight_decay, momentum=0.95),
        torch.optim.AdamW(others, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def save_base(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Weights in fp16, config, tokenizer: a folder that AutoModelForCausalLM and AutoTokenizer load."""
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def rebuild_base(blueprint: Blueprint, draw_documents: DrawDocuments, out: Path) -> str:
    """Trains tokenizer and base from nothing, on one thread, and saves both below `out`."""
    torch.set_num_threads(1)
    documents = list(itertools.islice(draw_documents(), _TOKENIZER_DOCUMENTS))
    train_tokenizer = train_gemma_tokenizer if blueprint.family == "gemma3" else train_qwen_tokenizer
    tokenizer = train_tokenizer(documents, blueprint.vocab_size)
    save_base(pretrain(blueprint, tokenizer, draw_documents), tokenizer, out / blueprint.name)
    return f"{blueprint.name}: saved in {out / blueprint.name}"


def _next_token_loss(model: PreTrainedModel, batch: torch.Tensor) -> torch.Tensor:
    """Mean NLL of every next token. batch (B, S)."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
