"""A base that lies in several places: layers on devices of their own, or on the disk."""

from pathlib import Path

import pytest
import torch
from accelerate import dispatch_model

from portal.forward.adapter_hooks import AdapterHooks, Segment
from portal.forward.losses import slot_losses
from portal.forward.microbatch import SlotRows
from portal.modules import ALL_MODULES
from tests.support.bases import make_base, make_rows, random_factors


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_a_base_whose_layers_accelerate_places_has_the_gradients_of_one_in_a_piece(
    family: str, recomputed: bool, tmp_path: Path
) -> None:
    whole, divided = make_base("tiny", family), make_base("tiny", family)
    places = {name: "cpu" for name, _ in divided.model.named_children() if name != "model"}
    places |= {f"model.{name}": "cpu" for name, _ in divided.model.model.named_children()}
    del places["model.layers"]
    places |= {f"model.layers.{index}": "disk" if index == 1 else "cpu" for index in range(3)}
    dispatch_model(divided.model, places, main_device="cpu", offload_dir=str(tmp_path))
    assert next(divided.model.model.layers[1].parameters()).device.type == "meta"
    rows = make_rows(whole).rows("sums", "train")[:4]

    found = []
    for base in (whole, divided, divided):
        factors = random_factors(base, ALL_MODULES, rank=2, slots=2, seed=3)
        leaves = [leaf.requires_grad_() for pair in factors.values() for leaf in pair]
        hooks = AdapterHooks(base.model, base.sites, recomputed=base.layers if recomputed else ())
        slots = [SlotRows(0, 0, tuple(rows[:2])), SlotRows(0, 1, tuple(rows[2:]))]
        with hooks.active([Segment(2, factors, 0.5)]):
            losses = slot_losses(base, slots)
            gradients = torch.autograd.grad(losses.sum(), leaves)
        found.append((losses.detach(), gradients))

    for losses, gradients in found[1:]:
        torch.testing.assert_close(losses, found[0][0], atol=1e-6, rtol=0)
        for ours, theirs in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
