"""A sentence encoder with random weights, as sentence-transformers saves one: embeddings in milliseconds."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WIDTH = 8
_WORDS = [
    "a",
    "and",
    "answer",
    "choose",
    "colour",
    "for",
    "given",
    "in",
    "is",
    "name",
    "number",
    "of",
    "person",
    "place",
    "sum",
    "the",
    "town",
    "what",
]


def save_encoder(folder: Path, *, seed: int = 0) -> Path:
    """Write it into `folder/encoder`, which is returned."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *_WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "bert")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")
    tokenizer.save_pretrained(folder / "bert")
    modules = [Transformer(str(folder / "bert")), Pooling(WIDTH)]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "encoder"))
    return folder / "encoder"
