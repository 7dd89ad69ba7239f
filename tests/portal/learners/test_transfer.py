"""Transferred LoRAs on tiny bases, and the mathematics of Cross-LoRA."""

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import read_peft_factors, save_peft_adapter
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig, BaseRef, RunConfig
from portal.learners import transfer as lora_transfer
from portal.learners.base import Start
from portal.learners.fixed import FixedAdapters
from portal.learners.transfer import (
    RANK_LIMIT,
    Basis,
    Transferred,
    check_transfer,
    source_layer,
    transfer,
    transfer_loras,
    update_norm,
    weight_basis,
)
from tests.support.bases import TASKS, make_base, make_rows, make_run, random_factors
from tests.support.zoo import tiny_base

ALL = AdapterConfig(modules=tuple(MODULE_PATHS), rank=4, alpha=8)


@pytest.fixture(scope="module")
def source() -> Base:
    return make_base("source", "qwen3", hidden=24, layers=3, seed=1)


@pytest.fixture(scope="module")
def target() -> Base:
    return make_base("target", "gemma3", hidden=28, layers=4, seed=2)


@pytest.fixture
def trained(source: Base, target: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    return trained_on(source, target, tmp_path, monkeypatch)


def trained_on(source: Base, target: Base, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """LoRAs of all tasks; the tiny bases lie in no folder, so their sites come from the models."""
    sites = {base.name: base.sites for base in (source, target)}
    monkeypatch.setattr(lora_transfer, "base_sites", sites.__getitem__)
    for seed, task in enumerate(TASKS):
        factors = random_factors(source, ALL.modules, rank=ALL.rank, slots=1, seed=seed)
        save_peft_adapter(folder / "loras" / task, base=source, adapter=ALL, factors=factors, task=task)
    ref = BaseRef(name="source", revision=source.revision)
    return Start(folder / "loras", ref, lambda ref: source, folder / "bases")


def updates(found: Transferred, task: str) -> dict[tuple[str, int], torch.Tensor]:
    slot = found.tasks.index(task)
    return {
        (group.module, layer): b[slot, index] @ a[slot, index]
        for group, (a, b) in found.factors.items()
        for index, layer in enumerate(group.layers)
    }


def run_of(method: str, base: str = "target", **changes: object) -> RunConfig:
    return make_run(method, base, adapter=ALL, **changes)


def test_a_copy_to_the_same_base_is_the_adapter_itself_also_in_fused_layers(
    source: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused = replace(tiny_base("phi3"), name="source")
    for base, modules in ((source, {*ALL.modules}), (fused, {"qkv", "o", "gate_up", "down"})):
        start = trained_on(base, base, tmp_path / str(len(modules)), monkeypatch)

        found = transfer_loras(run_of("copy_lora", "source"), base, start)

        assert {module for module, _ in updates(found, "sums")} == modules
        for task in TASKS:
            written = read_peft_factors(start.folder / task, base.device)
            for (module, layer), update in updates(found, task).items():
                (site,) = [each for each in base.sites if (each.module, each.layer) == (module, layer)]
                a, b = written[site.path]
                assert torch.equal(update, b @ a)
            assert found.mean_norm_ratio(task) == 1.0


@pytest.mark.parametrize("mode", ["coordinate", "project"])
def test_crossing_to_the_same_base_returns_what_lies_in_its_weights_span(
    source: Base, trained: Start, mode: str
) -> None:
    found = transfer_loras(run_of("cross_lora", "source", transfer=mode), source, trained)

    written = read_peft_factors(trained.folder / "sums", source.device)
    for site in source.sites:
        a, b = written[site.path]
        u, _, v = torch.linalg.svd(source.model.get_submodule(site.path).weight, full_matrices=False)
        expected = u @ u.T @ b @ a @ v.T @ v
        torch.testing.assert_close(updates(found, "sums")[site.module, site.layer], expected)


def test_every_matrix_of_the_target_has_an_update_and_a_ratio_which_the_learner_records(
    source: Base, target: Base, trained: Start, tmp_path: Path
) -> None:
    run = run_of("cross_lora")
    found = transfer_loras(run, target, trained)
    own = updates(found, "names")

    learner = FixedAdapters(run, {"target": target}, {"target": make_rows(target)}, found.factors, found)
    learner.save_artifact(tmp_path / "out", RunRecord.of(run))

    assert set(own) == {(site.module, site.layer) for site in target.sites}
    assert len(found.ratios) == len(TASKS) * len(target.sites)
    ratio = next(r for r in found.ratios if (r.task, r.module, r.layer) == ("names", "up", 3))
    assert ratio.source_layer == 2
    path = f"model.layers.2.{MODULE_PATHS['up']}"
    before = update_norm(*read_peft_factors(trained.folder / "names", source.device)[path])
    assert ratio.value == pytest.approx(torch.linalg.matrix_norm(own["up", 3]).item() / before, rel=1e-4)
    written = read_peft_factors(tmp_path / "out" / "names", target.device)
    for site in target.sites:
        a, b = written[site.path]
        torch.testing.assert_close(b @ a, own[site.module, site.layer])
    assert (tmp_path / "out" / "transfer.json").read_text().count('"module"') == len(found.ratios)
    assert learner.norm_ratio("names") == found.mean_norm_ratio("names")


def test_random_updates_have_the_norms_of_the_transfer_and_another_direction(
    target: Base, trained: Start
) -> None:
    runs = [run_of("cross_lora"), *(run_of("random_lora", seed=seed) for seed in (0, 0, 1))]
    crossed, first, again, other = (transfer_loras(run, target, trained) for run in runs)

    for place, update in updates(crossed, "colours").items():
        drawn = updates(first, "colours")[place]
        norms = [torch.linalg.matrix_norm(matrix) for matrix in (drawn, update)]
        torch.testing.assert_close(*norms, rtol=1e-3, atol=0)
        cosine = torch.nn.functional.cosine_similarity(drawn.flatten(), update.flatten(), dim=0)
        assert abs(cosine) < 0.5
        assert torch.equal(drawn, updates(again, "colours")[place])
        assert not torch.equal(drawn, updates(other, "colours")[place])


def test_singular_vectors_are_computed_once_by_lanes_that_want_the_same_and_used_again_from_disk(
    source: Base, target: Base, trained: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, together = [], threading.Barrier(2, timeout=60)
    compute = lora_transfer.weight_basis

    def slowly(weight_OI: torch.Tensor) -> Basis:
        computed.append(weight_OI)
        time.sleep(0.01)
        return compute(weight_OI)

    def lane(seed: int) -> Transferred:
        together.wait()
        return transfer_loras(run_of("cross_lora", seed=seed), target, trained)

    def refuse(ref: BaseRef) -> Base:
        raise AssertionError("the source base is loaded though its singular vectors are on disk")

    monkeypatch.setattr(lora_transfer, "weight_basis", slowly)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lane, (0, 1))
    again = transfer_loras(run_of("cross_lora"), target, replace(trained, load_base=refuse))

    modules = {site.module for site in source.sites}
    used = {ratio.source_layer for ratio in first.ratios}
    assert len(computed) == len(target.sites) + len(used) * len(modules)
    for found in (second, again):
        torch.testing.assert_close([*found.factors.values()], [*first.factors.values()], rtol=0, atol=0)


def test_zero_updates_and_those_of_an_untrained_lora_have_no_ratio(
    source: Base, target: Base, trained: Start
) -> None:
    factors = random_factors(source, ALL.modules, rank=ALL.rank, slots=1, seed=0)
    still = {group: (a, torch.zeros_like(b)) for group, (a, b) in factors.items()}
    save_peft_adapter(trained.folder / "sums", base=source, adapter=ALL, factors=still, task="sums")

    zero = transfer_loras(run_of("zero_lora"), target, None)
    crossed = transfer_loras(run_of("cross_lora"), target, trained)

    assert all(not update.any() for update in updates(zero, "sums").values())
    assert zero.mean_norm_ratio("sums") is crossed.mean_norm_ratio("sums") is None
    assert crossed.mean_norm_ratio("names") is not None


def test_bases_whose_widths_or_projections_do_not_fit_a_method_are_refused(
    source: Base, target: Base
) -> None:
    without = tuple(site for site in target.sites if site.module != "gate")
    gates = make_run("cross_lora", "target", adapter=AdapterConfig(modules=("gate",), rank=4))
    widths = "copy_lora needs equal widths, q of layer 0 is 48 x 24 on the source and 48 x 28"
    for run, sites, message in (
        (run_of("copy_lora"), target.sites, widths),
        (run_of("cross_lora", transfer="project"), target.sites, "transfer 'project' needs equal widths"),
        (gates, without, "the bases share none of gate"),
    ):
        with pytest.raises(ValueError, match=message):
            check_transfer(run, source.sites, sites)


def factors(d_in: int, d_out: int, *, rank: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, d_in, generator=generator), torch.randn(d_out, rank, generator=generator)


def weight(d_out: int, d_in: int, *, seed: int = 1) -> torch.Tensor:
    return torch.randn(d_out, d_in, generator=torch.Generator().manual_seed(seed))


def test_between_widths_the_update_keeps_its_coordinates_in_the_singular_vectors() -> None:
    a, b = factors(20, 30)
    source, target = weight_basis(weight(30, 20)), weight_basis(weight(44, 36, seed=2))

    a_t, b_t = transfer(a, b, source=source, target=target, mode="coordinate")

    assert (a_t.shape, b_t.shape) == ((4, 36), (44, 4))
    kept = 20
    expected = source.u_OR.T @ (b @ a) @ source.v_IR
    found = target.u_OR[:, :kept].T @ (b_t @ a_t) @ target.v_IR[:, :kept]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_projecting_twice_is_projecting_once_and_needs_equal_widths() -> None:
    a, b = factors(20, 30)
    target = weight_basis(weight(30, 20))

    once = transfer(a, b, source=target, target=target, mode="project")
    twice = transfer(*once, source=target, target=target, mode="project")

    torch.testing.assert_close(twice, once, rtol=1e-4, atol=1e-5)
    assert update_norm(*once) < update_norm(a, b)
    assert math.isclose(update_norm(a, b), torch.linalg.matrix_norm(b @ a).item(), rel_tol=1e-5)
    assert update_norm(a, torch.zeros(30, 4)) == 0.0
    wider = weight_basis(weight(30, 24))
    with pytest.raises(ValueError, match="30 x 20 on the source and 30 x 24 on the target; use mode 'coor"):
        transfer(a, b, source=target, target=wider, mode="project")


def test_the_largest_entry_of_every_left_vector_is_positive_and_the_product_is_the_weight() -> None:
    matrix = weight(18, 12)

    basis, limited = weight_basis(matrix), weight_basis(weight(RANK_LIMIT + 30, RANK_LIMIT + 10))

    assert (basis.u_OR.gather(0, basis.u_OR.abs().argmax(0)[None]) > 0).all()
    values = torch.linalg.svdvals(matrix)
    torch.testing.assert_close(basis.u_OR * values @ basis.v_IR.T, matrix, rtol=1e-4, atol=1e-5)
    assert (limited.rank, limited.v_IR.shape) == (RANK_LIMIT, (RANK_LIMIT + 10, RANK_LIMIT))


def test_fewer_vectors_of_one_side_limit_both() -> None:
    source, target = weight_basis(weight(30, 20)), weight_basis(weight(12, 10, seed=3))
    narrow = Basis(source.u_OR[:, :10], source.v_IR[:, :10])

    found, expected = (
        transfer(*factors(20, 30), source=each, target=target, mode="coordinate") for each in (source, narrow)
    )

    assert all(map(torch.equal, found, expected))


@example(36, 34)
@given(num_source=st.integers(1, 60), num_target=st.integers(1, 60))
def test_layers_map_in_order_and_end_to_end(num_source: int, num_target: int) -> None:
    layers = [source_layer(i, num_source=num_source, num_target=num_target) for i in range(num_target)]

    assert layers == sorted(layers)
    assert layers[0] == 0
    assert num_target == 1 or layers[-1] == num_source - 1
    assert num_source != num_target or layers == list(range(num_target))
    if (num_source, num_target) == (36, 34):
        assert [layers[i] for i in (1, 16, 17, 33)] == [1, 17, 18, 35]
