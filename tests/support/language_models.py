"""What transformers alone makes of an embedded base: the mean loss of texts."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def mean_loss(folder: Path, texts: list[str]) -> float:
    """Nats per token of all texts together, as one padded batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    with torch.no_grad():
        return model(**batch, labels=labels).loss.item()
