"""The base on which steps and loading are timed is the one that people name, or the usual one."""

from pathlib import Path

import pytest

from sweeps.gpu_check.world import CPU_BF16_SHAPE, CPU_SHAPE, CheckWorld


@pytest.mark.parametrize(
    ("shape", "timed"),
    [("8b", "qwen3-8b"), ("8B", "qwen3-8b"), ("1.7b", "qwen3-1.7b"), ("gemma-3-4b", "gemma-3-4b")],
)
def test_a_size_alone_is_that_of_a_qwen3(shape: str, timed: str, tmp_path: Path) -> None:
    world = CheckWorld("cpu", tmp_path, shape=shape)

    assert (world.timed, world.halved) == (timed, timed)


def test_without_a_name_a_cpu_has_small_bases(tmp_path: Path) -> None:
    world = CheckWorld("cpu", tmp_path)

    assert (world.timed, world.halved) == (CPU_SHAPE, CPU_BF16_SHAPE)
