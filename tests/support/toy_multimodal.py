"""A Gemma-3 that sees, of toy size, with the decoder of an embedded base, laid out as the published ones."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma3TextConfig,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)

from portal.bases.base import Base

_MARKS = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
_SIDE, _PATCH = 28, 14


def write_multimodal(folder: Path, base: Base) -> Path:
    """Write the model with a processor; `base` is a Gemma-3 for text. Returns `folder`."""
    tokenizer = _with_marks(base.tokenizer)
    text = base.model.config.to_dict() | {"vocab_size": len(tokenizer)}
    for name in ("architectures", "model_type", "transformers_version", "dtype"):
        del text[name]
    config = Gemma3Config(
        text_config=Gemma3TextConfig(**text),
        vision_config=SiglipVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
            image_size=_SIDE, patch_size=_PATCH,
        ),
        mm_tokens_per_image=(_SIDE // _PATCH) ** 2,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )  # fmt: skip
    model = Gemma3ForConditionalGeneration(config)
    weights = base.model.model.state_dict()
    embedding = weights["embed_tokens.weight"]
    added = embedding.new_zeros(len(tokenizer) - len(embedding), embedding.shape[1])
    model.model.language_model.load_state_dict(
        weights | {"embed_tokens.weight": torch.cat([embedding, added])}
    )
    model.tie_weights()
    model.float().save_pretrained(folder)
    _name_as_published(folder / "model.safetensors")
    images = Gemma3ImageProcessor(size={"height": _SIDE, "width": _SIDE})
    Gemma3Processor(images, tokenizer, image_seq_length=(_SIDE // _PATCH) ** 2).save_pretrained(folder)
    return folder


def _with_marks(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A tokenizer with the tokens that Gemma-3's processor, and vLLM's reading of it, look for."""
    marked = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        extra_special_tokens=_MARKS,
        **tokenizer.special_tokens_map,
    )
    marked.add_tokens(["\n" * count for count in (1, 2, 3, 4)])
    return marked


def _name_as_published(path: Path) -> None:
    """Give the weights the names of the published checkpoints, in which the tower has one level more."""
    weights = load_file(path)
    own, published = "vision_tower.", "vision_tower.vision_model."
    renamed = {
        name.replace(own, published) if name.startswith(own) and published not in name else name: tensor
        for name, tensor in weights.items()
    }
    save_file(renamed, path, metadata={"format": "pt"})
