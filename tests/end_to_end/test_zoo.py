"""Families of causal language models in transformers: scored, trained, ported to, exported, resumed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from portal.artifacts.adapted_base import check_export
from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base, with_operations
from portal.bases.sites import group_sites
from portal.config import AdapterConfig, BaseRef
from portal.data.token_rows import TokenRow
from portal.evaluate.loglikelihood import score_rows
from portal.forward import output_head
from portal.forward.adapter_hooks import AdapterHooks, Segment, select_slots
from portal.forward.losses import slot_losses
from portal.forward.microbatch import SlotRows
from portal.generation.decoder import Request, end_tokens
from portal.generation.generate import generate
from portal.hypernet import Factors
from portal.modules import ALL_MODULES
from portal.train_config import TrainConfig
from sweeps.planning.checks import check_shapes
from sweeps.planning.memory import footprint
from tests.support.bases import make_base, make_rows, make_run, random_factors
from tests.support.packs import broken_off, make_pack, run_to_end, without_times
from tests.support.scoring import score_one_by_one
from tests.support.zoo import families, left_out, rewritten_by_peft, supported, tiny_base

EVERYTHING = AdapterConfig(modules=ALL_MODULES, rank=2, alpha=4)
LONG = 83
"""Tokens of a prompt that crosses several windows, chunks and blocks of every kind of layer."""
ATTENTION = ("q", "k", "v", "o")
SHORT = TrainConfig(epochs=1, lr=1e-2, batch_size=3, rounds_per_epoch=2)
SAMPLE = ("gpt2", "gpt_oss", "nemotron_h", "qwen3_5_text")
"""Families that `make test` tries; `make zoo` tries all."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Path]:
    """Artifacts of sources that were trained on a Llama-like base, by the modules that they adapt."""
    found = {}
    bases = {"small": make_base("small", "llama")}
    for modules in (ALL_MODULES, ATTENTION):
        adapter = EVERYTHING.model_copy(update={"modules": modules})
        pack = make_pack(bases, [make_run("source", "small", adapter=adapter, train=SHORT)], None)
        run_to_end(pack)
        folder = tmp_path_factory.mktemp("source")
        pack.learners[0].save_artifact(folder, RunRecord.of(pack.learners[0].run))
        found[modules] = folder / "small"
    return found


@pytest.fixture(
    scope="module",
    params=[
        family if family in SAMPLE else pytest.param(family, marks=pytest.mark.zoo) for family in supported()
    ],
)
def base(request: pytest.FixtureRequest) -> Base:
    return tiny_base(request.param)


def test_every_family_is_tried_or_left_out_for_a_reason() -> None:
    assert set(SAMPLE) <= set(supported())
    assert left_out().keys() <= set(families())
    assert len(supported()) >= 130


def every_module(base: Base) -> tuple[str, ...]:
    """All that can be adapted in the base, by name: also what stands in for nothing, such as `in_z`."""
    return tuple(sorted({site.module for site in base.sites}))


def with_long_prompts(rows: Sequence[TokenRow]) -> list[TokenRow]:
    """The rows with prompts of LONG tokens and a few more, each another number of them."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 100, (len(rows), LONG + len(rows)), generator=generator).tolist()
    return [
        replace(row, prompt=(*row.prompt[:1], *own[: LONG + extra]))
        for extra, (row, own) in enumerate(zip(rows, tokens, strict=True))
    ]


@pytest.mark.parametrize("length", ["short", "long"])
def test_scores_are_those_of_a_forward_for_each_choice_alone(base: Base, length: str) -> None:
    rows = make_rows(base).rows("sums", "test")
    if length == "long":
        rows = with_long_prompts(rows[:3])
    factors = random_factors(base, every_module(base), rank=2, slots=1, seed=1)
    with AdapterHooks(base.model, base.sites).active([Segment(1, factors, 0.5)]):
        scored = score_rows(base, rows)
        with torch.inference_mode():
            alone = [score_one_by_one(base, row) for row in rows]

    torch.testing.assert_close(
        torch.tensor([row.scores for row in scored]), torch.tensor(alone), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("way", ["in chunks", "in slices", "with fused operations"])
def test_scores_are_the_same(base: Base, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows(base).rows("names", "test")
    expected = torch.tensor([row.scores for row in score_rows(base, rows)])
    if way == "in chunks":
        monkeypatch.setattr(
            output_head, "CHUNK_LOGITS", 5 * base.model.get_output_embeddings().weight.shape[0]
        )
    elif way == "in slices":
        monkeypatch.setattr(output_head, "SLICE_COLUMNS", 48)
    else:
        base = with_operations(tiny_base(base.name), "fused")

    found = torch.tensor([row.scores for row in score_rows(base, rows)])

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_memory_is_planned_from_the_config_alone(base: Base, on_gpu: bool, tmp_path: Path) -> None:
    base.model.config.save_pretrained(tmp_path)
    run = make_run("lora", "base", adapter=EVERYTHING, train=SHORT)
    placed = run.model_copy(update={"bases": (BaseRef(name=str(tmp_path), revision="0"),)})

    planned = footprint([placed], str(tmp_path), length=32, on_gpu=on_gpu)

    check_shapes([placed])
    assert 0 < planned.per_token < 1e6
    assert planned.base > 0


@pytest.mark.parametrize("oracle", ["merged", "peft"])
def test_gradients_of_slots_with_unequal_rows_are_those_of_each_row_alone(base: Base, oracle: str) -> None:
    gradients_of = {"merged": merged_gradients, "peft": peft_gradients}[oracle]
    modules = bound_by_peft(base) if oracle == "peft" and is_rewritten(base) else every_module(base)
    table = make_rows(base)
    slots = [
        SlotRows(0, 0, tuple(table.rows("sums", "train")[:3])),
        SlotRows(0, 1, tuple(table.rows("names", "train")[:2])),
    ]
    parts = [random_factors(base, modules, rank=2, slots=1, seed=seed) for seed in (2, 3)]
    for own in parts:
        for pair in own.values():
            for factor in pair:
                factor.requires_grad_()
    segments = [Segment(1, own, 0.5, len(slot.rows)) for own, slot in zip(parts, slots, strict=True)]
    with AdapterHooks(base.model, base.sites).active(segments, num_rows=5):
        losses = slot_losses(base, slots)
        losses.sum().backward()

    for own, slot, loss in zip(parts, slots, losses, strict=True):
        expected, gradients = gradients_of(base, own, slot)
        torch.testing.assert_close(loss.detach(), expected, atol=1e-5, rtol=1e-5)
        for group, pair in own.items():
            for found, theirs in zip(pair, gradients[group], strict=True):
                scale = max(theirs.abs().max().item(), 1e-2)
                # fp32: 2.6e-4 for Gemma 4 with shared keys and values, 4e-7 in fp64
                torch.testing.assert_close(found.grad, theirs, atol=1e-3 * scale, rtol=1e-3)


def test_answers_of_many_adapters_in_a_batch_are_those_of_whole_forwards_one_by_one(base: Base) -> None:
    factors = random_factors(base, ALL_MODULES, rank=2, slots=2, seed=1)
    generator = torch.Generator().manual_seed(0)
    requests = [
        Request(tuple(torch.randint(3, 100, (length,), generator=generator).tolist()), slot, 12)
        for length, slot in ((9, 0), (3, 1), (12, None), (1, 0), (9, 1))
    ]

    found = dict(generate(base, requests, factors, 0.5, max_rows=2))

    for number, request in enumerate(requests):
        own = [] if request.slot is None else [Segment(1, select_slots(factors, [request.slot]), 0.5)]
        ids = list(request.prompt)
        with torch.no_grad(), AdapterHooks(base.model, base.sites).active(own):
            for token in found[number].tokens:
                logits_V = base.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
                # fp32: of two tokens within rounding either may be the likeliest
                assert logits_V[token] > logits_V.max() - 1e-4
                ids.append(token)
        assert found[number].reason == "length" or found[number].tokens[-1] in end_tokens(base)


def bound_by_peft(base: Base) -> tuple[str, ...]:
    """The modules that peft adapts where they are asked for: all, but for those of a mixture's feed-forward.

    There peft takes their names for those of the routed experts, whose weights it then adapts.
    """
    return ATTENTION if is_rewritten(base) else ALL_MODULES


def is_rewritten(base: Base) -> bool:
    return base.model.config.model_type in rewritten_by_peft()


def merged_gradients(base: Base, factors: Factors, slot: SlotRows) -> tuple[Tensor, Factors]:
    """The loss of a slot's rows and the gradients of its factors, by weights that the update is added to."""
    leaves = {
        group: (a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_())
        for group, (a, b) in factors.items()
    }
    paths = {(site.module, site.layer): site.path for site in base.sites}
    weights = {}
    for group, (a, b) in leaves.items():
        for index, layer in enumerate(group.layers):
            path = paths[group.module, layer]
            linear = base.model.get_submodule(path)
            update = 0.5 * (b[0, index] @ a[0, index])
            weights[f"{path}.weight"] = linear.weight + (update.T if isinstance(linear, Conv1D) else update)

    loss = loss_alone(
        lambda ids: functional_call(base.model, weights, kwargs={"input_ids": ids, "use_cache": False}), slot
    )
    flat = [leaf for pair in leaves.values() for leaf in pair]
    gradients = iter(torch.autograd.grad(loss, flat))
    return loss.detach(), {group: (next(gradients), next(gradients)) for group in leaves}


def peft_gradients(base: Base, factors: Factors, slot: SlotRows) -> tuple[Tensor, Factors]:
    """The same by peft's adapter."""
    paths = {(site.module, site.layer): site.path for site in base.sites}
    places = [
        (group, index, paths[group.module, layer])
        for group in factors
        for index, layer in enumerate(group.layers)
    ]
    config = LoraConfig(r=2, lora_alpha=1, target_modules=[path for _, _, path in places], lora_dropout=0.0)
    model = get_peft_model(base.model, config)
    try:
        layers = {path: model.base_model.model.get_submodule(path) for _, _, path in places}
        for group, index, path in places:
            a, b = (factor.data[0, index] for factor in factors[group])
            layers[path].lora_A.default.weight.data.copy_(a)
            layers[path].lora_B.default.weight.data.copy_(b)
        loss = loss_alone(lambda ids: model(input_ids=ids, use_cache=False), slot)
        loss.backward()
        gradients: Factors = {
            group: (torch.zeros_like(a), torch.zeros_like(b)) for group, (a, b) in factors.items()
        }
        for group, index, path in places:
            for whole, own in zip(gradients[group], (layers[path].lora_A, layers[path].lora_B), strict=True):
                whole[0, index] = own.default.weight.grad
    finally:
        model.unload()
        base.model.requires_grad_(False)
    return loss.detach(), gradients


def loss_alone(forward: Callable[[Tensor], Any], slot: SlotRows) -> Tensor:
    """The mean NLL of a slot's gold answers from forwards of one row each."""
    total = torch.zeros(())
    for row in slot.rows:
        log_probs_TV = forward(torch.tensor([row.gold_ids])).logits[0].log_softmax(-1)
        start = len(row.prompt) - 1
        for place, token in enumerate(row.choices[row.gold]):
            total = total - log_probs_TV[start + place, token]
    return total / slot.num_gold_tokens


def test_two_steps_move_every_adapter(base: Base) -> None:
    adapter = EVERYTHING.model_copy(update={"modules": every_module(base)})
    pack = make_pack({base.name: base}, [make_run("lora", base.name, adapter=adapter, train=SHORT)], None)
    (learner,) = pack.learners
    before = {name: value.clone() for name, value in learner.tensors().items()}

    run_to_end(pack)

    factors = learner.factors(base.name)
    assert factors.keys() == set(group_sites(base.sites, every_module(base)))
    for group, (_, b) in factors.items():
        assert b.flatten(2).any(-1).all(), group
    moved = [
        name
        for name, value in learner.tensors().items()
        if name in before and not torch.equal(value, before[name])
    ]
    assert len(moved) >= 2 * len(factors)


def test_a_port_resumes_to_the_bit(base: Base, sources: dict[tuple[str, ...], Path], tmp_path: Path) -> None:
    bases, run = {base.name: base}, make_run("portal", base.name, adapter=EVERYTHING, train=SHORT)
    results = run_to_end(make_pack(bases, [run], sources[ALL_MODULES]))[run.key]

    again = broken_off(lambda: make_pack(bases, [run], sources[ALL_MODULES]), tmp_path)

    assert without_times(again.results[run.key]) == without_times(results)


def test_the_export_of_a_port_is_bound_whole_by_peft(
    base: Base, sources: dict[tuple[str, ...], Path], tmp_path: Path
) -> None:
    modules = bound_by_peft(base)
    adapter = EVERYTHING.model_copy(update={"modules": modules})
    pack = make_pack(
        {base.name: base}, [make_run("portal", base.name, adapter=adapter, train=SHORT)], sources[modules]
    )
    run_to_end(pack)
    (learner,) = pack.learners
    learner.save_artifact(tmp_path / "artifact", RunRecord.of(learner.run))

    artifact = Artifact.load(tmp_path / "artifact")
    artifact.check_base(base)
    artifact.export_peft("sums", tmp_path / "export")

    factors = artifact.factors(("sums",))
    assert check_export(tmp_path / "export", base, factors, artifact.config.adapter.scaling) <= 1e-4
