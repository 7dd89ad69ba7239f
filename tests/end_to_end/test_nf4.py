"""A base in 4 bits (nf4) is the base of its dequantised weights in bf16, and near that of the given weights.

Widths are multiples of a block of weights, which bitsandbytes reads rightly on every CPU.
"""

import copy
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import Qwen3Config, Qwen3ForCausalLM

from portal.bases.base import Base, load_base, quantised_base
from portal.forward.adapter_hooks import AdapterHooks, Segment
from portal.forward.losses import slot_losses
from portal.forward.microbatch import SlotRows
from portal.modules import ALL_MODULES
from tests.support.bases import character_tokenizer, make_rows, random_factors
from tests.support.precision import in_bf16

pytestmark = pytest.mark.slow
BLOCK = 64
SAME_WEIGHTS, GIVEN_WEIGHTS = 0.999, 0.9
"""Least cosines of gradients with those in bf16: on the dequantised weights, and on those that were given."""


def step(base: Base) -> tuple[Tensor, Tensor]:
    """The losses of two slots, and the gradients of their factors as one vector."""
    table = make_rows(base)
    slots = [
        SlotRows(0, 0, tuple(table.rows("sums", "train")[:3])),
        SlotRows(0, 1, tuple(table.rows("names", "train")[:2])),
    ]
    parts = [random_factors(base, ALL_MODULES, rank=2, slots=1, seed=seed) for seed in (2, 3)]
    factors = [factor.requires_grad_() for own in parts for pair in own.values() for factor in pair]
    segments = [Segment(1, own, 0.5, len(slot.rows)) for own, slot in zip(parts, slots, strict=True)]
    with AdapterHooks(base.model, base.sites).active(segments, num_rows=5):
        losses = slot_losses(base, slots)
        losses.sum().backward()
    return losses.detach(), torch.cat([factor.grad.flatten() for factor in factors])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=128,
            hidden_size=2 * BLOCK,
            intermediate_size=4 * BLOCK,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=BLOCK // 2,
        )
    )
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(4)  # the usual start leaves logits nearly uniform
    model.save_pretrained(place)
    character_tokenizer(bos=False).save_pretrained(place)
    return place


def test_gradients_on_nf4_are_those_of_the_same_weights_in_bf16(folder: Path) -> None:
    quantised = quantised_base(str(folder), "4bit", torch.device("cpu"))
    given = in_bf16(load_base(str(folder)))
    same = copy.deepcopy(given)
    for site in quantised.sites:
        weight = quantised.model.get_submodule(site.path).weight
        assert min(site.d_in, site.d_out) % BLOCK == 0
        read = dequantize_4bit(weight.data, weight.quant_state)
        same.model.get_submodule(site.path).weight.data.copy_(read)

    losses, gradient = step(quantised)

    for base, least in ((same, SAME_WEIGHTS), (given, GIVEN_WEIGHTS)):
        _, expected = step(base)
        cosine = cosine_similarity(gradient, expected, dim=0).item()
        assert cosine > least
    torch.testing.assert_close(losses, step(same)[0], atol=0, rtol=1e-2)
