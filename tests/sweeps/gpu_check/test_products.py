"""Products of a base's matrices are held to the rate of large ones."""

from dataclasses import replace

import pytest
import torch

from sweeps.gpu_check import products
from sweeps.gpu_check.products import check_products
from sweeps.gpu_check.shape import ShapeWorld, random_base
from sweeps.planning.devices import plain_cpu


def test_products_that_are_slower_than_large_ones_are_found() -> None:
    world = ShapeWorld(random_base("mini-qwen3-xs", torch.device("cpu")))
    device = plain_cpu(1)

    (as_fast,) = check_products(world, replace(device, flops=1e6), "a base")
    (slower,) = check_products(world, replace(device, flops=1e18), "a base")

    assert as_fast.what == "a base: rate of its matrices' products over that of large ones"
    assert (as_fast.level, slower.level) == ("PASS", "WARN")


def test_all_matrices_of_all_layers_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second for each product of one row with a matrix, whatever its size."""
    world = ShapeWorld(random_base("mini-qwen3-xs", torch.device("cpu")))
    monkeypatch.setattr(products, "seconds_each", lambda *_: 1.0)
    device = replace(plain_cpu(1), flops=2.0)  # of which large products attain half

    (line,) = check_products(world, device, "a base")

    flops = 2 * products._ROWS["cpu"] * sum(site.d_in * site.d_out for site in world.base.sites)
    assert line.value == pytest.approx(flops / len(world.base.sites))
