"""Greedy answers with exported adapters: of many in one batch here, one row at a time by peft's generate."""

from collections.abc import Sequence
from pathlib import Path

import torch

from portal.artifacts.adapted_base import peft_adapted
from portal.bases.base import Base
from portal.config import AdapterConfig
from portal.data.token_rows import encode_examples
from portal.generation.decoder import Request, end_tokens
from portal.generation.generate import generate
from portal.modules import ALL_MODULES
from portal.tasks.example import Example
from tests.support.artifacts import export_random

SLOTS = 3
Texts = list[tuple[int, ...]]


def answers_of_both(
    base: Base, examples: Sequence[Example], folder: Path, *, new_tokens: int, alpha: float
) -> tuple[Texts, Texts]:
    """Tokens of the answers to each prompt with each of three adapters with random factors: ours, peft's."""
    adapter = AdapterConfig(rank=4, alpha=alpha, modules=ALL_MODULES)
    folders = [folder / f"adapter-{slot}" for slot in range(SLOTS)]
    own = [export_random(path, base, adapter, seed=slot) for slot, path in enumerate(folders)]
    factors = {
        group: tuple(torch.cat([each[group][side] for each in own]) for side in (0, 1)) for group in own[0]
    }
    rows = encode_examples([(e, "test") for e in examples], base.tokenizer, max_prompt=256)
    requests = [Request(row.prompt, slot, new_tokens) for slot in range(SLOTS) for row in rows]
    found = dict(generate(base, requests, factors, adapter.scaling))

    theirs = []
    for path in folders:
        with peft_adapted(base, path) as model, torch.inference_mode():
            for row in rows:
                prompt_1T = torch.tensor([row.prompt])
                written_1T = model.generate(
                    input_ids=prompt_1T,
                    attention_mask=torch.ones_like(prompt_1T),
                    max_new_tokens=new_tokens,
                    do_sample=False,
                    eos_token_id=sorted(end_tokens(base)),
                    pad_token_id=0,
                )
                theirs.append(tuple(written_1T[0, len(row.prompt) :].tolist()))
    return [found[number].tokens for number in range(len(requests))], theirs
