"""Log-probabilities of answer tokens: the ones of the whole forward, in chunks as in one, wide in bf16."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GraniteConfig,
    PretrainedConfig,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from portal.bases.base import Base
from portal.forward import output_head
from portal.forward.output_head import positions_at_once, token_log_probs
from tests.support.bases import make_base, reads_of
from tests.support.live_bytes import LiveBytes
from tests.support.zoo import tiny_base

POSITIONS, TOKENS = [3, 7, 15, 16, 24], [9, 90, 5, 5, 44]
SIZES = {
    "vocab_size": 128,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "intermediate_size": 40,
}


def token_ids(length: int = 13) -> Tensor:
    return torch.randint(3, 100, (2, length), generator=torch.Generator().manual_seed(3))


def whole_log_probs(model: nn.Module, ids: Tensor) -> Tensor:
    """Of every token at every position, from the model's own forward in fp32."""
    wide = copy.deepcopy(model).float()
    return wide(input_ids=ids, use_cache=False).logits.log_softmax(dim=-1).flatten(0, 1)


@torch.no_grad()
def test_log_probabilities_are_those_of_the_models_own_forward_in_any_order_of_reads(any_base: Base) -> None:
    ids = token_ids()
    whole = whole_log_probs(any_base.model, ids)
    read, tokens = torch.tensor([2, 0, 2, 1, 0]), torch.tensor([7, 8, 9, 10, 11])

    found = token_log_probs(any_base.model, ids, *reads_of(POSITIONS, TOKENS))
    again = token_log_probs(any_base.model, ids, torch.tensor([3, 7, 24]), read, tokens)

    torch.testing.assert_close(found, whole[POSITIONS, TOKENS], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again, whole[[24, 3, 24, 7, 3], tokens], atol=1e-5, rtol=1e-5)
    assert found.dtype == torch.float32


def families() -> dict[str, PretrainedConfig]:
    """Families that do something to their logits after the head, or have another layout."""
    sizes = {name: value for name, value in SIZES.items() if name != "head_dim"}
    return {
        "softcap": Gemma2Config(**SIZES, final_logit_softcapping=3.0, query_pre_attn_scalar=12),
        "scaled": CohereConfig(**sizes, logit_scale=0.25),
        "divided": GraniteConfig(**sizes, logits_scaling=5.0),
        "other names": GPTNeoXConfig(**{k: v for k, v in sizes.items() if k != "num_key_value_heads"}),
    }


@pytest.mark.parametrize("family", ["softcap", "scaled", "divided", "other names"])
def test_chunks_give_the_same_bits_and_gradients_in_every_family(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(families()[family]).eval().requires_grad_(False)
    weight = model.get_output_embeddings().weight
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(4)
    offsets = torch.zeros(len(weight), SIZES["hidden_size"], requires_grad=True)
    ids, found = token_ids(), []
    for chunk_logits in (output_head.CHUNK_LOGITS, 2 * len(weight)):
        monkeypatch.setattr(output_head, "CHUNK_LOGITS", chunk_logits)
        hook = model.get_input_embeddings().register_forward_hook(
            lambda _m, args, output: output + nn.functional.embedding(args[0], offsets)
        )
        scores = token_log_probs(model, ids, *reads_of(POSITIONS, TOKENS))
        (gradient,) = torch.autograd.grad(scores.sum(), [offsets])
        hook.remove()
        found.append((scores, gradient))

    (whole, whole_gradient), (chunked, chunked_gradient) = found
    expected = whole_log_probs(model, ids)[POSITIONS, TOKENS]
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(whole, chunked)
    torch.testing.assert_close(whole_gradient, chunked_gradient)
    assert "forward" not in vars(model.base_model)


def test_the_layers_run_once_however_many_chunks_there_are_and_who_places_them_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, calls = make_base("tiny", "qwen3").model, []
    model.model.layers[0].register_forward_pre_hook(lambda *_: calls.append("layer"))
    forward = model.model.forward

    def placed(*given: Any, **named: Any) -> Any:
        calls.append("model")
        return forward(*given, **named)

    model.model.forward = placed  # as accelerate does
    monkeypatch.setattr(output_head, "CHUNK_LOGITS", 1)

    token_log_probs(model, token_ids(), *reads_of(POSITIONS, TOKENS))

    assert calls == ["model", "layer"]
    assert model.model.forward is placed


class Widest(TorchDispatchMode):
    """The most numbers that an operation within the block gave at once."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.numbers = max([self.numbers, *made])
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["softcap", "scaled", "divided", "other names"])
def test_slices_of_the_vocabulary_give_the_same_log_probabilities_in_every_family(
    family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    config = families()[family]
    config.vocab_size = 131  # a prime: slices differ in width
    model = AutoModelForCausalLM.from_config(config).to(dtype).eval().requires_grad_(False)
    layers = next(module for module in model.modules() if isinstance(module, nn.ModuleList))
    ids, reads, calls = token_ids(), reads_of(POSITIONS, TOKENS), []
    layers[0].register_forward_pre_hook(lambda *_: calls.append(1))

    whole = token_log_probs(model, ids, *reads)
    monkeypatch.setattr(output_head, "SLICE_COLUMNS", 32)
    with_gradients = token_log_probs(model, ids, *reads)
    with torch.inference_mode():
        found = token_log_probs(model, ids, *reads)

    assert torch.equal(with_gradients, whole)  # which want whole logits
    torch.testing.assert_close(found, whole, atol=1e-4 if dtype == torch.bfloat16 else 1e-6, rtol=0)
    assert len(calls) == 3  # a pass through the layers each
    assert "forward" not in vars(model.base_model)


@torch.inference_mode()
def test_slices_end_where_a_model_drops_the_padding_of_its_vocabulary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_base("inkling_text").model  # whose head has 128 columns
    reads, columns = reads_of(POSITIONS, [9, 40, 5, 5, 44]), output_head.SLICE_COLUMNS
    padded = token_log_probs(model, token_ids(), *reads)
    for vocabulary in (50, 64, 127):
        model.config.unpadded_vocab_size = vocabulary
        monkeypatch.setattr(output_head, "SLICE_COLUMNS", columns)
        whole = token_log_probs(model, token_ids(), *reads)
        monkeypatch.setattr(output_head, "SLICE_COLUMNS", 32)
        found = token_log_probs(model, token_ids(), *reads)
        torch.testing.assert_close(found, whole, atol=1e-6, rtol=0)
        assert bool((whole > padded).all())


@torch.inference_mode()
def test_a_logit_that_is_no_number_and_a_token_beyond_the_vocabulary_give_no_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_base("tiny", "qwen3").model
    monkeypatch.setattr(output_head, "SLICE_COLUMNS", 32)
    beyond = token_log_probs(model, token_ids(), *reads_of([3, 7], [128, 5]))
    assert beyond.isnan().tolist() == [True, False]
    for broken in (0, 40, 127):
        model.lm_head = nn.Linear(model.lm_head.in_features, 128, bias=True)
        model.lm_head.bias[broken] = torch.nan
        found = token_log_probs(model, token_ids(), *reads_of(POSITIONS, TOKENS))
        assert bool(found.isnan().all())


@torch.inference_mode()
def test_where_a_cpu_scores_only_a_slice_of_the_logits_is_made_at_once() -> None:
    config = Gemma3TextConfig(**{**SIZES, "vocab_size": 50_021})
    kept = list(range(0, 512, 2))
    for dtype in (torch.float32, torch.bfloat16):
        model = AutoModelForCausalLM.from_config(config).to(dtype).eval().requires_grad_(False)
        with Widest() as widest:
            token_log_probs(model, token_ids(256), *reads_of(kept, [3] * len(kept)))
        assert widest.numbers == output_head.SLICE_COLUMNS * len(kept)


def test_a_head_in_bf16_gives_sixteen_bits_of_its_logits_and_the_gradient_of_its_product() -> None:
    torch.manual_seed(2)
    head = nn.Linear(256, 512, bias=True).to(torch.bfloat16).requires_grad_(False)
    hidden = (torch.randn(64, 256).to(torch.bfloat16) * 8).requires_grad_()
    exact = hidden.detach().double().requires_grad_()
    product = exact @ head.weight.double().T + head.bias.double()

    wide = output_head._product(hidden, head)

    assert wide.dtype == torch.float32
    assert (wide - product).abs().max() < 2**-15 * product.abs().max()
    assert (head(hidden).double() - product).abs().max() > 2**-10 * product.abs().max()
    (ours,) = torch.autograd.grad(wide.square().sum(), [hidden])
    (theirs,) = torch.autograd.grad(product.square().sum(), [exact])
    torch.testing.assert_close(ours.double(), theirs, rtol=2**-6, atol=float(theirs.abs().max()) * 2**-7)


def test_a_head_in_bf16_multiplies_only_once() -> None:
    """The wide product takes the place of the head's own, which is asked for no position at all."""
    model, own = make_base("tiny", "qwen3").model.to(torch.bfloat16), []
    model.lm_head.register_forward_hook(lambda _head, _args, output: own.append(output.shape))

    token_log_probs(model, token_ids(), *reads_of(POSITIONS, TOKENS))

    assert own == [(1, 0, 128)]


@torch.no_grad()
def test_a_base_in_bf16_ties_no_two_tokens_that_differ() -> None:
    base = make_base("tiny", "qwen3", hidden=96)
    model = base.model.to(torch.bfloat16)
    ids = token_ids()
    everything = [(position, token) for position in range(26) for token in range(128)]
    read, tokens = (torch.tensor(column) for column in zip(*everything, strict=True))

    wide = token_log_probs(model, ids, torch.arange(26), read, tokens).view(26, 128)

    rounded = model(input_ids=ids, use_cache=False).logits.flatten(0, 1).float()
    ties = [sum(128 - len(row.unique()) for row in values) for values in (wide, rounded)]
    assert ties[1] > 26  # more than one per position: what the wide product is for
    assert ties[0] <= ties[1] / 50


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("capped", [False, True])
def test_scoring_a_vocabulary_of_262k_takes_two_copies_of_a_chunks_logits(
    dtype: torch.dtype, *, capped: bool
) -> None:
    """By count on the meta device, at the width and vocabulary of Gemma-3-4B: below 3 GB for any answers.

    The bound leaves a tenth of a copy for what the one layer and a cap on logits hold.
    """
    config = Gemma3TextConfig(
        vocab_size=262_208,
        hidden_size=2560,
        intermediate_size=10_240,
        num_hidden_layers=1,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        final_logit_softcapping=30.0 if capped else None,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)
    ids = torch.empty(6, 1024, dtype=torch.long, device="meta")
    kept = list(range(5000))
    assert positions_at_once(config.vocab_size) < len(kept) / 4

    with torch.inference_mode(), LiveBytes() as live:
        found = token_log_probs(model, ids, *reads_of(kept, [3] * len(kept)))

    assert found.shape == (len(kept),)
    assert 2 * 4 * output_head.CHUNK_LOGITS * 0.99 < live.peak < 2.1 * 4 * output_head.CHUNK_LOGITS < 3e9
