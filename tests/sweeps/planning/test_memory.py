"""Predicted memory against what autograd really keeps, and against counted parameters."""

import shutil
from pathlib import Path

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from portal.bases.base import load_base
from portal.bases.family import base_sites
from portal.bases.sites import MODULE_PATHS, group_sites
from portal.config import Activations, AdapterConfig, HypernetConfig, Precision
from portal.forward.adapter_hooks import AdapterHooks, Segment
from portal.forward.losses import slot_losses
from portal.forward.microbatch import SlotRows
from portal.forward.output_head import CHUNK_LOGITS
from portal.hypernet import Converter, CoreDecoder
from portal.learners.base import build_learner
from portal.train_config import TrainConfig
from sweeps.planning.memory import (
    count_params,
    decoder_shape,
    footprint,
    generation_flops,
    kept_values_per_token,
)
from tests.support.bases import make_row, make_rows, make_run, random_factors
from tests.support.precision import needs_bf16, run_in_bf16
from tests.support.shared import SHARED

BASE = "mini-gemma3"
WIDE = AdapterConfig(modules=tuple(MODULE_PATHS), rank=4)
LORA = make_run("lora", BASE, adapter=WIDE)
CONFIGS = SHARED / "data" / "configs"


def kept_by_autograd(
    slots: int, length: int, *, recomputed: bool = False, precision: Precision = "default"
) -> int:
    """Bytes that one real training forward saves beside the base's weights."""
    base = load_base(BASE, precision=precision)
    own = {parameter.untyped_storage().data_ptr() for parameter in base.model.parameters()}
    factors = random_factors(base, WIDE.modules, rank=WIDE.rank, slots=slots, seed=0)
    factors = {group: (a.requires_grad_(), b.requires_grad_()) for group, (a, b) in factors.items()}
    own |= {factor.untyped_storage().data_ptr() for pair in factors.values() for factor in pair}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    row = make_row(tuple(3 + index % 90 for index in range(length - 2)), ((4, 5), (6,)))
    with (
        saved_tensors_hooks(keep, lambda tensor: tensor),
        AdapterHooks(base.model, base.sites, recomputed=base.layers if recomputed else ()).active(
            [Segment(slots, factors, WIDE.scaling)]
        ),
    ):
        loss_S = slot_losses(base, [SlotRows(0, slot, (row,) * 4) for slot in range(slots)])
    assert loss_S.requires_grad
    return sum(saved.values())


@pytest.mark.parametrize(("slots", "length"), [(2, 64), (6, 64), (3, 128)])
def test_what_a_forward_keeps_is_predicted_from_shapes(slots: int, length: int) -> None:
    predicted = footprint([LORA], BASE, length=length, on_gpu=False)

    found = kept_by_autograd(slots, length)

    assert predicted.peak(slots * 4 * length, slots * 4 * 2) - predicted.fixed == pytest.approx(
        found, rel=0.15
    )


@needs_bf16
def test_a_base_in_bf16_takes_two_bytes_per_number_and_its_forward_what_is_predicted() -> None:
    whole, predicted = (footprint([run], BASE, length=64, on_gpu=False) for run in (LORA, run_in_bf16(LORA)))

    found = kept_by_autograd(6, 64, precision="bf16")

    assert (predicted.base, predicted.learners) == (whole.base / 2, whole.learners)
    assert predicted.peak(6 * 4 * 64, 6 * 4 * 2) - predicted.fixed == pytest.approx(found, rel=0.15)


@pytest.mark.parametrize(("precision", "itemsize"), [("default", 4), ("bf16", 2)])
def test_values_that_a_cpu_keeps_are_the_bytes_of_a_forward_in_the_bases_precision(
    precision: Precision, itemsize: int
) -> None:
    run = make_run("lora", BASE)
    run = run_in_bf16(run) if precision == "bf16" else run
    without = run.model_copy(update={"adapter": None})

    found = footprint([run], BASE, length=33, on_gpu=False).per_token

    kept = kept_values_per_token([run], BASE)
    assert itemsize * kept == pytest.approx(found, rel=0.02)
    assert 0.5 < kept_values_per_token([without], BASE) / kept < 2


def test_a_token_of_an_8b_base_on_a_gpu_keeps_what_the_page_on_gpus_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for operations, kilobytes in (("fused", 158), ("plain", 184)):
        monkeypatch.setenv("PORTAL_OPERATIONS", operations)
        found = footprint([make_run("lora", "qwen3-8b")], "qwen3-8b", length=64, on_gpu=True)
        per_layer = found.per_token / decoder_shape("qwen3-8b").layers
        assert per_layer == pytest.approx(1000 * kilobytes, rel=0.005)


def test_an_8_bit_base_keeps_what_its_products_read_also_where_layers_are_recomputed() -> None:
    """Per token and layer of Qwen3-8B: inputs of o, of gate and up, and of down; recomputed, of q, too."""
    whole = make_run("lora", "qwen3-8b")
    ref = whole.bases[0].model_copy(update={"precision": "8bit"})
    runs = whole, whole.model_copy(update={"bases": (ref,)})

    def more(activations: Activations) -> float:
        alone, packed = (
            footprint([run], "qwen3-8b", length=64, on_gpu=True, activations=activations).per_token
            for run in runs
        )
        return (packed - alone) / decoder_shape("qwen3-8b").layers

    hidden, heads, inner = 4096, 4096, 12288
    assert more("keep") == pytest.approx(2 * (heads + hidden + inner), rel=0.01)
    assert more("recompute") == pytest.approx(2 * (2 * hidden + heads + inner), rel=0.05)


def test_each_base_of_joint_training_has_its_own_precision() -> None:
    run = make_run("source", BASE, "mini-qwen3-s")
    first = run.bases[0].model_copy(update={"precision": "bf16"})
    mixed = run.model_copy(update={"bases": (first, run.bases[1])})

    sizes = [
        [footprint([each], base, length=64, on_gpu=False).base for base in (BASE, "mini-qwen3-s")]
        for each in (run, mixed)
    ]

    assert sizes[1] == [sizes[0][0] / 2, sizes[0][1]]


def test_the_logits_of_a_scoring_forward_are_counted_by_the_chunk() -> None:
    predicted = footprint([make_run("lora", "gemma-3-270m")], "gemma-3-270m", length=64, on_gpu=False)

    assert predicted.scoring(100) == pytest.approx(100 * predicted.per_answer_token * 2 / 3)
    assert predicted.scoring(5000) == predicted.scoring(6000) == pytest.approx(2 * 4 * CHUNK_LOGITS)


def test_recomputed_activations_take_what_is_predicted_and_much_less() -> None:
    kept, recomputed = (
        footprint([LORA], BASE, length=64, on_gpu=False, activations=how) for how in ("keep", "recompute")
    )

    tokens = 4 * 4 * 64
    whole = kept_by_autograd(4, 64)
    found = kept_by_autograd(4, 64, recomputed=True) + whole / load_base(BASE).num_layers

    assert recomputed.peak(tokens, 4 * 4 * 2) - recomputed.fixed == pytest.approx(found, rel=0.15)
    assert recomputed.per_token < 0.5 * kept.per_token


@pytest.mark.parametrize("method", ["lora", "hypernet"])
def test_trained_parameters_are_counted_with_gradient_and_moments(method: str) -> None:
    base = load_base(BASE)
    run = make_run(method, BASE, adapter=WIDE, train=TrainConfig(epochs=1))
    learner = build_learner(run, {BASE: base}, {BASE: make_rows(base)})

    predicted = footprint([run], BASE, length=64, on_gpu=False)
    two = footprint([run, run], BASE, length=64, on_gpu=False)

    assert predicted.learners >= 16 * learner.num_trained_params
    assert two.learners == 2 * predicted.learners
    assert two.per_token == predicted.per_token
    assert predicted.base == 4 * sum(parameter.numel() for parameter in base.model.parameters())


def test_what_trains_of_a_taught_task_is_its_latent() -> None:
    run = make_run("taught", BASE, adapter=WIDE)
    assert run.hypernet is not None

    assert count_params(run, BASE).trained == len(run.data.tasks) * run.hypernet.d_latent


def test_fewer_tokens_fit_a_smaller_budget_and_none_where_the_learners_do_not() -> None:
    predicted = footprint([LORA], BASE, length=64, on_gpu=True)

    tokens = predicted.tokens_that_fit(predicted.fixed + 2**30, answer_share=0.1)

    assert predicted.peak(tokens, tokens // 10) == pytest.approx(predicted.fixed + 2**30, rel=1e-3)
    assert predicted.tokens_that_fit(predicted.fixed / 2, answer_share=0.1) < 0


@pytest.mark.skipif(
    not CONFIGS.is_dir(), reason="no model configs beside the checkout (../shared/data/configs)"
)
def test_a_large_base_is_measured_from_its_config_alone(tmp_path: Path) -> None:
    shutil.copy(CONFIGS / "Qwen3-8B.config.json", tmp_path / "config.json")
    run = make_run("portal", str(tmp_path))

    predicted = footprint([run], str(tmp_path), length=64, on_gpu=True)

    shape = decoder_shape(str(tmp_path))
    assert shape[:4] == (36, pytest.approx(6.95e9, rel=0.01), 4096, 151_936)
    assert shape.active_params == shape.params
    assert predicted.base == pytest.approx(2 * 8.19e9, rel=0.01)
    assert len(base_sites(str(tmp_path))) == 7 * 36


def test_operations_of_generating_factors_are_those_that_torch_counts() -> None:
    """All but the trunk's, which no task repeats for every module."""
    run = make_run("hypernet", BASE, hypernet=HypernetConfig(d_latent=8, d_layer=6, hidden=96, d_core=80))
    generator = torch.Generator()
    core = CoreDecoder(run.hypernet, run.adapter, generator)
    groups = group_sites(base_sites(BASE), run.adapter.modules)
    layers = decoder_shape(BASE).layers
    converter = Converter(run.hypernet, groups, num_layers=layers, zero_output=False, generator=generator)

    with FlopCounterMode(display=False) as counter:
        converter(core, torch.randn(len(run.data.tasks), 8))

    assert generation_flops(run, BASE) == pytest.approx(counter.get_total_flops(), rel=0.15)
    assert generation_flops(run, BASE) < counter.get_total_flops()
    assert generation_flops(make_run("lora", BASE), BASE) == 0
