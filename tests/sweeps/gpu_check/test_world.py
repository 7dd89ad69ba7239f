"""The base on which steps are timed is the one that people name, or the usual one."""

from pathlib import Path

import pytest
import torch

from sweeps.gpu_check.world import CPU_BF16_SHAPE, CPU_SHAPE, CheckWorld


def test_a_size_alone_is_that_of_a_qwen3_and_without_a_name_a_cpu_has_small_bases(tmp_path: Path) -> None:
    for shape, timed in (
        ("8b", "qwen3-8b"),
        ("8B", "qwen3-8b"),
        ("1.7b", "qwen3-1.7b"),
        ("gemma-3-4b", "gemma-3-4b"),
    ):
        world = CheckWorld("cpu", tmp_path, shape=shape)
        assert (world.timed, world.halved) == (timed, timed)
    world = CheckWorld("cpu", tmp_path)
    assert (world.timed, world.halved) == (CPU_SHAPE, CPU_BF16_SHAPE)


def test_so_many_gpus_have_a_worker_each_as_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)

    two, one, every = (CheckWorld("cuda", tmp_path, gpus=count) for count in (2, 1, None))

    assert (two.workers, one.workers, every.workers) == (2, 1, 8)
    assert one.lone_worker == "one GPU was asked for (--gpus)"
    with pytest.raises(ValueError, match="--gpus 9: this machine has 8 that can be checked on 'cuda'"):
        CheckWorld("cuda", tmp_path, gpus=9)
