"""Tiny real bases with random weights and a character tokenizer: the whole method in milliseconds."""

import copy
import dataclasses
import string
from collections.abc import Mapping

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from portal.bases.base import Base
from portal.bases.sites import find_sites, group_sites
from portal.config import AdapterConfig, BaseRef, DataConfig, HypernetConfig, RunConfig
from portal.data.token_rows import RowTable, TokenRow, encode_example
from portal.hypernet import Factors
from portal.methods import find_method
from portal.tasks.example import SPLITS, Example
from portal.train_config import TrainConfig

TASKS = ("colours", "sums", "names")
LAYER_PATH = "model.layers"


def character_tokenizer(*, bos: bool) -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<bos>", "<unk>", *string.printable])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>" if bos else None
    )


def _common(hidden: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "vocab_size": 128,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "intermediate_size": 2 * hidden + 8,
        "head_dim": 12,
        "max_position_embeddings": 512,
    }


def make_model(family: str, *, hidden: int, layers: int, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    common = _common(hidden, layers, heads=4)
    if family == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**common, attn_implementation="sdpa"))
    elif family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**common, attn_implementation="sdpa"))
    else:
        layer_types = ["sliding_attention", "full_attention"] * layers
        config = Gemma3TextConfig(
            **common,
            sliding_window=5,
            layer_types=layer_types[:layers],
            query_pre_attn_scalar=12,
            bos_token_id=1,
            attn_implementation="sdpa",
        )
        model = Gemma3ForCausalLM(config)
    for (
        parameter
    ) in model.parameters():  # the default 0.02 leaves random models nearly uniform: nothing to compare
        if parameter.ndim == 2:
            parameter.data.mul_(4)
    return model.requires_grad_(False).eval()


def make_base(name: str, family: str, *, hidden: int = 24, layers: int = 3, seed: int = 0) -> Base:
    model = make_model(family, hidden=hidden, layers=layers, seed=seed)
    model.config.use_cache = False
    tokenizer = character_tokenizer(bos=family == "gemma3")
    return Base(name, f"digest-{name}", model, tokenizer, LAYER_PATH, find_sites(model, LAYER_PATH))


def make_uneven_base(name: str) -> Base:
    """A base whose middle layer has a narrower feed-forward: site groups of unequal widths."""
    base = make_base(name, "qwen3")
    narrow = copy.deepcopy(base.model.config)
    narrow.intermediate_size = 40
    base.model.model.layers[1].mlp = type(base.model.model.layers[1].mlp)(narrow).requires_grad_(False)
    return dataclasses.replace(base, sites=find_sites(base.model, LAYER_PATH))


def reads_of(positions: list[int], tokens: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `token_log_probs` takes to read one token at each of the flattened positions."""
    return torch.tensor(positions), torch.arange(len(positions)), torch.tensor(tokens)


def make_examples(task: str, split: str, count: int) -> list[Example]:
    examples = []
    for index in range(count):
        prompt = f"{task} {split} {'x' * (index % 7)}{index * 7 % 13}?"
        choices = (f" {index}", f" {index + 1}b", f" {task[: 2 + index % 3]}")
        examples.append(
            Example(task, f"{index:03d}", prompt, choices, index % 3, f"{split} cluster {index // 2}")
        )
    return examples


def make_rows(base: Base, *, count: int = 11, counts: Mapping[str, int] | None = None) -> RowTable:
    """So many rows of each task and split, `counts` of the tasks that it names."""
    return RowTable(
        encode_example(example, split, base.tokenizer, max_prompt=64)
        for task in TASKS
        for split in SPLITS
        for example in make_examples(task, split, (counts or {}).get(task, count))
    )


def make_run(method: str, *bases: str, **changes: object) -> RunConfig:
    spec = find_method(method)
    parts_of, starts = spec.parts, bool(spec.parents)
    data = {
        "suite": "test",
        "tasks": TASKS,
        "prompt_set": "test",
        "size": 9,
        "eval_size": 6,
        "data_hash": "0",
    }
    data |= changes.pop("data", {})
    if spec.by_description:
        data = {"descriptions": {task: (f"name the {task}",) for task in data["tasks"]}} | data
    parts = {
        "data": DataConfig(**data),
        "adapter": AdapterConfig(modules=("q", "v"), rank=4, alpha=8) if "adapter" in parts_of else None,
        "hypernet": HypernetConfig(d_latent=10, d_layer=6, hidden=16, d_core=12)
        if "hypernet" in parts_of
        else None,
        "train": TrainConfig(epochs=2, lr=1e-2) if "train" in parts_of else None,
        "seed": 0 if "seed" in parts_of else None,
        "source": "0" * 16 if starts else None,
        "latents": "1" * 16 if spec.latents_of else None,
        "transfer": "coordinate" if "transfer" in parts_of else None,
    }
    refs = tuple(BaseRef(name=name, revision=f"digest-{name}") for name in bases)
    return RunConfig(method=method, bases=refs, **(parts | changes))


def make_row(
    prompt: tuple[int, ...],
    choices: tuple[tuple[int, ...], ...],
    *,
    gold: int = 0,
    task: str = "colours",
    name: str = "000",
    chars: tuple[int, ...] | None = None,
) -> TokenRow:
    """A row straight from token ids; a choice has two characters per token unless `chars` says more."""
    lengths = chars or tuple(2 * len(choice) for choice in choices)
    return TokenRow(
        task, name, "test", name, prompt, choices, gold, lengths, lengths, lengths, (0,) * len(choices), 0
    )


def random_factors(base: Base, modules: tuple[str, ...], *, rank: int, slots: int, seed: int) -> Factors:
    """Factors large enough to move every logit of a tiny base."""
    generator = torch.Generator().manual_seed(seed)
    return {
        group: (
            0.3 * torch.randn(slots, len(group.layers), rank, group.d_in, generator=generator),
            0.3 * torch.randn(slots, len(group.layers), group.d_out, rank, generator=generator),
        )
        for group in group_sites(base.sites, modules)
    }
