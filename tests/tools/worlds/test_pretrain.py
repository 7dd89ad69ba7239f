"""A base is a pure function of its blueprint and its text, and its folder loads as any other."""

import itertools
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


@pytest.fixture
def _few_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "_TOKENIZER_DOCUMENTS", 200)
    monkeypatch.setattr(pretrain, "_TOKENIZE_AT_ONCE", 50)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_few_documents")
@pytest.mark.parametrize("blueprint", [QWEN, GEMMA], ids=["qwen3", "gemma3"])
def test_rebuilding_gives_the_same_folder_again(blueprint: Blueprint, tmp_path: Path) -> None:
    for name in ("one", "two"):
        rebuild_base(blueprint, draw_documents, tmp_path / name)

    one, two = (tmp_path / name / blueprint.name for name in ("one", "two"))
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (one / file).read_bytes() == (two / file).read_bytes()


@pytest.mark.usefixtures("_few_documents")
def test_a_rebuilt_base_has_learned_its_text(tmp_path: Path) -> None:
    rebuild_base(QWEN, draw_documents, tmp_path)

    model = AutoModelForCausalLM.from_pretrained(tmp_path / QWEN.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / QWEN.name)
    ids = tokenizer("The number 3 follows 2.", return_tensors="pt").input_ids
    assert model.config.num_hidden_layers == 2
    assert model(input_ids=ids, labels=ids).loss < 0.8 * torch.tensor(float(len(tokenizer))).log()


def test_sequences_hold_whole_documents_and_cut_only_the_last() -> None:

    tokenizer = train_qwen_tokenizer(itertools.islice(draw_documents(), 100), 300)

    sequence = next(packed_sequences(draw_documents(), tokenizer, 40))

    texts = tokenizer.decode(sequence).split("<eos>")
    assert len(sequence) == 40
    assert texts[0] == "The number 0 follows 6."
    assert texts[1] == "The number 1 follows 0."
    assert "The number 2 follows 1.".startswith(texts[2])


def test_the_learning_rate_warms_up_and_falls_to_a_twentieth() -> None:
    shares = [RECIPE.share_at(step) for step in range(RECIPE.steps)]

    assert shares[:3] == [1 / 3, 2 / 3, 1]
    assert shares[3:] == sorted(shares[3:], reverse=True)
    assert RECIPE.share_at(RECIPE.steps) == pytest.approx(0.05)
