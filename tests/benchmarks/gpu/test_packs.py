"""A pack on a base of a real shape is measured, at toy size on this CPU; every real shape can be built."""

from pathlib import Path

import pytest
import torch

from benchmarks.gpu import packs
from benchmarks.gpu.__main__ import SHAPES
from benchmarks.gpu.packs import covered, measure_packs
from portal.modules import ALL_MODULES
from sweeps.gpu_check.shape import BATCH, LENGTHS, ShapeWorld, random_base
from sweeps.planning.devices import plain_cpu
from sweeps.planning.memory import decoder_shape

CPU = torch.device("cpu")


def test_time_that_several_kernels_share_counts_once() -> None:
    for spans, total in (
        ([], 0),
        ([(0, 2)], 2),
        ([(0, 2), (1, 3)], 3),
        ([(5, 6), (0, 2), (2, 3)], 4),
        ([(0, 9), (1, 2), (3, 4)], 9),
    ):
        assert covered(spans) == total


@pytest.mark.nightly
def test_a_pack_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packs, "ADAPTED", {"q and v": ("q", "v")})
    monkeypatch.setitem(packs.LEARNERS, "cpu", (2,))
    monkeypatch.setitem(packs._STEPS, "cpu", 1)
    world = ShapeWorld(random_base("mini-qwen3-xs", CPU))

    (point,) = measure_packs(world, plain_cpu(1), tmp_path)

    rows = 2 * BATCH * len(LENGTHS)
    assert (point.shape, point.adapted, point.learners) == ("mini-qwen3-xs", "q and v", 2)
    assert 10 * rows < point.real_tokens <= point.padded_tokens < 2 * point.real_tokens
    assert point.forwards >= 1
    assert point.launches > 100 * point.forwards
    assert 0.2 < point.busy <= 1
    assert 0 < point.stop_s <= point.write_s
    assert not list(tmp_path.iterdir())
    assert point.checkpoint_bytes > 12 * rows  # parameters and two moments each, in fp32
    assert point.scored_rows == 2 * 64 * 2  # tasks, rows, splits
    assert min(point.step_s, point.predicted_s, point.scoring_s) > 0
    assert point.peak_bytes is None


def test_a_pack_that_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packs, "peak_memory", lambda *_, **__: 1e18)

    assert list(measure_packs(ShapeWorld(random_base("mini-qwen3-xs", CPU)), plain_cpu(1), tmp_path)) == []


def test_a_gpu_has_packs_of_up_to_sixteen_learners_at_four_geometries_that_can_be_built() -> None:
    assert packs.LEARNERS["cuda"] == (1, 3, 8, 16)
    assert tuple(SHAPES["cuda"]) == ("qwen3-1.7b", "qwen3-4b", "qwen3-8b", "gemma-3-4b")
    for shape in SHAPES["cuda"]:
        base, known = random_base(shape, torch.device("meta")), decoder_shape(shape)
        assert base.num_layers == known.layers
        assert {(site.layer, site.module) for site in base.sites} == {
            (layer, module) for layer in range(known.layers) for module in ALL_MODULES
        }
