"""From text without end to a base's folder: tokenizer and model, trained from fixed seeds."""

import argparse
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from portal.pretraining.blueprint import Blueprint, Recipe
from portal.pretraining.tokenizers import train_gemma_tokenizer, train_qwen_tokenizer

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


def run_command(blueprints: Sequence[Blueprint], draw_documents: DrawDocuments, folder: Path) -> None:
    """The command line of a world's `pretrain` module: rebuilds its bases, slowest first, into `folder`."""
    names = [blueprint.name for blueprint in blueprints]
    parser = argparse.ArgumentParser(description="Rebuild embedded tokenizers and bases.")
    parser.add_argument("--base", choices=names, action="append", help="only this base (may be repeated)")
    parser.add_argument("--out", type=Path, default=folder, help="folder that receives one folder per base")
    parser.add_argument("--jobs", type=int, default=2, help="bases trained side by side, one core each")
    arguments = parser.parse_args()
    chosen = [each for each in blueprints if each.name in (arguments.base or names)]
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        saved = pool.map(
            rebuild_base, chosen, itertools.repeat(draw_documents), itertools.repeat(arguments.out)
        )
        for line in saved:
            print(line, flush=True)


def _next_token_loss(model: PreTrainedModel, batch: torch.Tensor) -> torch.Tensor:
    """Mean NLL of every next token. batch (B, S)."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
