"""The second half of a base on the disk gives what the whole base gives."""

from pathlib import Path

import pytest
import torch

from sweeps.gpu_check.offload import divide_over_disk
from tests.support.bases import make_base


def test_layers_on_the_disk_are_read_in_turn_and_give_the_same_logits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, divided = make_base("tiny", "qwen3"), make_base("tiny", "qwen3")
    ids = torch.arange(3, 15)[None]

    divide_over_disk(divided, tmp_path)

    kept = [next(divided.model.get_submodule(path).parameters()).device.type for path in divided.layers]
    assert kept == sorted(kept) == ["cpu", "cpu", "meta"]
    assert len([*tmp_path.glob("model.layers.2.*.dat")]) == len([*whole.model.model.layers[2].parameters()])
    assert not caplog.records
    assert torch.equal(divided.model(ids).logits, whole.model(ids).logits)
