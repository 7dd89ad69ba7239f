"""A device `toy` without memory: what runs there has shapes only, and mixing it with the CPU is an error.

It is registered for the whole process, and torch then takes it for an accelerator: use a process of its own.
"""

import sys
from collections.abc import Sequence

import torch
from accelerate.hooks import attach_align_device_hook_on_blocks
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration

from portal.bases.base import Base, divide
from portal.forward.adapter_hooks import AdapterHooks, Segment
from portal.forward.losses import slot_losses
from portal.forward.microbatch import SlotRows
from portal.forward.shared_prefix import answer_token_scores, pack_rows
from portal.modules import ALL_MODULES
from tests.support.bases import make_rows, random_factors
from tests.support.zoo import tiny_base


class _ToyMode(FakeTensorMode):
    avoid_device_init = True  # a small tensor that goes to a device gives up its values, too


def register_toy() -> FakeTensorMode:
    """The mode in which tensors may be on the toy device."""
    backend_registration._setup_privateuseone_for_python_backend("toy")
    return _ToyMode(allow_non_fake_inputs=True)


def divide_over(base: Base, devices: Sequence[str]) -> dict[str, str]:
    """Put the base's parts on these devices as `divide` says, with accelerate's hooks between them.

    That is what transformers does with a `device_map`. Call it within the mode.
    """
    division = divide(base.model, len(devices), "default", base.model.dtype)
    places = {name: devices[number] for name, number in division.items()}
    for path, module in base.model.named_modules():
        place = next((where for name, where in places.items() if f"{path}.".startswith(f"{name}.")), None)
        if place is None:
            continue
        for name, parameter in module.named_parameters(recurse=False):
            moved = torch.empty_like(parameter, device=place)
            setattr(module, name, nn.Parameter(moved, requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty_like(buffer, device=place))
    base.model.tie_weights()
    attach_align_device_hook_on_blocks(
        base.model, execution_device={**places, "": devices[0]}, offload=dict.fromkeys(places, False)
    )
    return places


def run_divided(family: str, dtype: torch.dtype, devices: Sequence[str]) -> None:
    """Score rows and compute losses, adapters active, on a base that is divided over the devices."""
    base = tiny_base(family)
    base.model.to(dtype)
    rows = make_rows(base).rows("sums", "train")[:4]
    batch = pack_rows(rows)
    slots = [SlotRows(0, 0, tuple(rows[:2])), SlotRows(0, 1, tuple(rows[2:]))]
    with register_toy(), torch.no_grad():
        places = divide_over(base, devices)
        assert [places[path] for path in base.layers] == sorted(
            [places[path] for path in base.layers], key=devices.index
        )
        assert set(places.values()) == set(devices)
        factors = {
            group: (a_SLRI.to(base.device), b_SLOR.to(base.device))
            for group, (a_SLRI, b_SLOR) in random_factors(base, ALL_MODULES, rank=2, slots=2, seed=3).items()
        }
        with AdapterHooks(base.model, base.sites).active([Segment(2, factors, 0.5)]):
            found = slot_losses(base, slots), answer_token_scores(base, batch)
    assert [str(each.device) for each in found] == [devices[0]] * 2


if __name__ == "__main__":
    run_divided(sys.argv[1], getattr(torch, sys.argv[2]), sys.argv[3:])
