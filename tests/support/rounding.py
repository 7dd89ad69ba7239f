"""How this machine rounds: numbers of one processor's kernels are those of another up to rounding only."""

import hashlib
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM


def rounding_digest(folder: Path) -> str:
    """A hash of the logits and gradients of the model in `folder`, by transformers and torch alone.

    One thread is used. Equal digests: products of these widths and lengths are rounded alike.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
        digest = hashlib.sha256()
        for rows, length in ((2, 12), (8, 28), (8, 44), (16, 64)):
            generator = torch.Generator().manual_seed(length)
            ids = torch.randint(0, model.config.vocab_size, (rows, length), generator=generator)
            model.zero_grad()
            logits = model(input_ids=ids, use_cache=False).logits
            logits.float().log_softmax(-1)[..., 0].sum().backward()
            digest.update(logits.detach().numpy().tobytes())
            for parameter in model.parameters():
                if parameter.grad is not None:
                    digest.update(parameter.grad.numpy().tobytes())
        return digest.hexdigest()
    finally:
        torch.set_num_threads(threads)
