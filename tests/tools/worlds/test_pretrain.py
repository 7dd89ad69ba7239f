"""A base is a pure function of its blueprint and its text, and its folder loads as any other."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tools.worlds import pretrain
from tools.worlds.pretrain import (
    Blueprint,
    Recipe,
    gemma_shape,
    packed_sequences,
    rebuild_base,
    train_qwen_tokenizer,
)

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "head_dim": 8, "intermediate_size": 24}
RECIPE = Recipe(steps=30, batch_size=4, length=16, warmup=3)
QWEN = Blueprint("toy-qwen3", "qwen3", SHAPE, 300, RECIPE)
GEMMA = Blueprint("toy-gemma3", "gemma3", gemma_shape(16, 3, 24, window=8), 300, RECIPE)


def draw_documents() -> Iterator[str]:
    return (f"The number {n % 7} follows {(n - 1) % 7}." for n in itertools.count())


@pytest.fixture(autouse=True)
def _few_documents_and_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pretrain, "_TOKENIZER_DOCUMENTS", 200)
    monkeypatch.setattr(pretrain, "_TOKENIZE_AT_ONCE", 50)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("blueprint", [QWEN, GEMMA], ids=["qwen3", "gemma3"])
def test_rebuilding_gives_the_same_folder_again_and_the_base_has_learned_its_text(
    blueprint: Blueprint, tmp_path: Path
) -> None:
    one, two = (tmp_path / name / blueprint.name for name in ("one", "two"))
    for folder in (one, two):
        rebuild_base(blueprint, draw_documents, folder.parent)

    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    model = AutoModelForCausalLM.from_pretrained(one, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(one)
    ids = tokenizer("The number 3 follows 2.", return_tensors="pt").input_ids
    assert model.config.num_hidden_layers == blueprint.shape["num_hidden_layers"]
    assert model(input_ids=ids, labels=ids).loss < 0.8 * math.log(len(tokenizer))


def test_sequences_hold_whole_documents_and_cut_only_the_last() -> None:
    tokenizer = train_qwen_tokenizer(itertools.islice(draw_documents(), 100), 300)

    sequence = next(packed_sequences(draw_documents(), tokenizer, 40))

    *whole, cut = tokenizer.decode(sequence).split("<eos>")
    *expected, last = itertools.islice(draw_documents(), len(whole) + 1)
    assert len(sequence) == 40
    assert whole == expected
    assert last.startswith(cut)
    assert len(whole) >= 2


def test_the_learning_rate_warms_up_and_falls_to_a_twentieth() -> None:
    shares = [RECIPE.share_at(step) for step in range(RECIPE.steps)]

    assert shares[:3] == [1 / 3, 2 / 3, 1]
    assert shares[3:] == sorted(shares[3:], reverse=True)
    assert RECIPE.share_at(RECIPE.steps) == pytest.approx(0.05)
