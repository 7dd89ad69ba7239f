"""A base that lies in several places: layers on devices of their own, or on the disk."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import backend_registration

from portal.bases.base import Base, load_base
from portal.forward.adapter_hooks import AdapterHooks, Segment
from portal.forward.losses import slot_losses
from portal.forward.microbatch import SlotRows
from portal.modules import ALL_MODULES
from sweeps.launch.driver import run_study
from sweeps.study.expand import Study
from sweeps.worker import base_cache
from tests.support.bases import make_base, make_rows, random_factors
from tests.support.counts import times
from tests.support.kills import kill_and_end
from tests.support.offload import divide_over_disk
from tests.support.studies import Tables, silent, tables_of


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_a_base_whose_layers_accelerate_places_has_the_gradients_of_one_in_a_piece(
    family: str, recomputed: bool, tmp_path: Path
) -> None:
    whole, divided = make_base("tiny", family), make_base("tiny", family)
    divide_over_disk(divided, tmp_path)
    assert next(divided.model.get_submodule(divided.layers[-1]).parameters()).device.type == "meta"
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


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch takes no devices from Python",
)
@pytest.mark.parametrize(
    ("family", "devices"),
    [
        ("gemma4_text", ("toy:0", "cpu")),  # k and v of other layers
        *(
            pytest.param(family, devices, marks=pytest.mark.nightly)
            for family in ("qwen3", "gemma3_text", "gemma4_text")
            for devices in (("toy:0", "cpu"), ("cpu", "toy:0"))
            if (family, devices) != ("gemma4_text", ("toy:0", "cpu"))
        ),
    ],
)
def test_no_operation_mixes_the_devices_of_a_divided_base(family: str, devices: tuple[str, str]) -> None:
    """On tensors without values, half in bf16: the only devices here that torch does not let mix."""
    dtype = "float32" if family == "qwen3" else "bfloat16"
    command = [sys.executable, "-m", "tests.support.toy_devices", family, dtype, *devices]

    child = subprocess.run(command, capture_output=True, text=True)

    assert child.returncode == 0, child.stderr


def launch_divided(study: Study, out: Path) -> None:
    """Run the study on bases that lie on CPU and disk."""

    def load_divided(name: str, **given: Any) -> Base:
        base = load_base(name, **given)
        divide_over_disk(base, out.parent / f"offloaded-{name}-{os.getpid()}")
        return base

    base_cache.load_base = load_divided  # in a process of its own
    run_study(study, out, executor="local", console=silent())


@pytest.mark.slow
def test_a_study_on_divided_bases_that_is_killed_goes_on_and_ends_as_one_on_whole_bases(
    tiny_study: Study, unbroken: tuple[Path, Tables], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "0.01")
    out = tmp_path / "out"

    assert kill_and_end(launch_divided, tiny_study, out, kills=times(1, nightly=3)) >= 1

    assert tables_of(tiny_study, out).results.equals(unbroken[1].results)
