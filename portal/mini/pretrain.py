"""`python -m portal.mini.pretrain`: rebuilds the tokenizers and the four bases from nothing but this code."""

import argparse
import itertools
import math
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from portal.mini.corpus import draw_documents
from portal.mini.models import MINI_BASES, mini_config
from portal.mini.tokenizers import train_gemma_tokenizer, train_qwen_tokenizer

BASES_DIR = Path(__file__).parent / "bases"
_TOKENIZER_DOCUMENTS = 40_000
_TOKENIZE_AT_ONCE = 2000


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


RECIPES = {
    "mini-qwen3-m": Recipe(steps=4500),
    "mini-gemma3": Recipe(steps=3500),
    "mini-qwen3-s": Recipe(steps=4000),
    "mini-qwen3-xs": Recipe(steps=8000),
}
"""Slowest first, so that two cores end together."""


def packed_sequences(tokenizer: PreTrainedTokenizerFast, length: int) -> Iterator[list[int]]:
    """Token lists of that length: whole documents, each ended by <eos>; the last one of a sequence is cut."""
    documents = draw_documents()
    sequence: list[int] = []
    while True:
        texts = list(itertools.islice(documents, _TOKENIZE_AT_ONCE))
        for ids in tokenizer(texts).input_ids:
            sequence += [*ids, tokenizer.eos_token_id]
            if len(sequence) >= length:
                yield sequence[:length]
                sequence = []


def pretrain(name: str, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> PreTrainedModel:
    """The trained base, fp32. Prints a line every 100 steps; everything is drawn from fixed seeds."""
    torch.manual_seed(0)
    config = mini_config(
        name,
        len(tokenizer),
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
        pad=tokenizer.pad_token_id,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    optimizers = build_optimizers(model, recipe)
    sequences = packed_sequences(tokenizer, recipe.length)
    start, running = time.monotonic(), 0.0
    for step in range(recipe.steps):
        batch = torch.tensor(list(itertools.islice(sequences, recipe.batch_size)))  # (B, S)
        loss = _next_token_loss(model, batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"base {name!r}: loss {loss.item()} at step {step}")
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
                f"{name} step {step + 1}/{recipe.steps} loss {running:.3f} {time.monotonic() - start:.0f} s",
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


def rebuild_base(name: str, out: Path) -> str:
    """Trains tokenizer and base of that name from nothing, on one thread, and saves both below `out`."""
    torch.set_num_threads(1)
    documents = list(itertools.islice(draw_documents(), _TOKENIZER_DOCUMENTS))
    train_tokenizer = train_gemma_tokenizer if name == "mini-gemma3" else train_qwen_tokenizer
    tokenizer = train_tokenizer(documents)
    save_base(pretrain(name, tokenizer, RECIPES[name]), tokenizer, out / name)
    return f"{name}: saved in {out / name}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the embedded tokenizers and bases.")
    parser.add_argument(
        "--base", choices=MINI_BASES, action="append", help="only this base (may be repeated)"
    )
    parser.add_argument("--out", type=Path, default=BASES_DIR, help="folder that receives one folder a base")
    parser.add_argument("--jobs", type=int, default=2, help="bases trained side by side, one core each")
    arguments = parser.parse_args()
    largest_first = sorted(arguments.base or MINI_BASES, key=list(RECIPES).index)
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for saved in pool.map(rebuild_base, largest_first, itertools.repeat(arguments.out)):
            print(saved, flush=True)


def _next_token_loss(model: PreTrainedModel, batch: torch.Tensor) -> torch.Tensor:
    """Mean NLL of every next token. batch (B, S)."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())


if __name__ == "__main__":
    main()
