"""Faults of a device, for checks that must find them: learners that change each other, and waits."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from portal.forward.adapter_hooks import AdapterHooks, Segment


def leak_between_companions(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Adapters that share a forward with those of others are scaled by so much more."""
    deltas = AdapterHooks._deltas

    def leak(hooks: AdapterHooks, segments: Sequence[Segment], num_rows: int | None) -> object:
        shared = sum(segment.num_slots for segment in segments) > 3
        scaled = [replace(s, scaling=s.scaling * (factor if shared else 1.0)) for s in segments]
        return deltas(hooks, scaled, num_rows)

    monkeypatch.setattr(AdapterHooks, "_deltas", leak)


def leak_what_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of adapters that are no numbers reach all rows of their forward."""
    deltas = AdapterHooks._deltas

    def leak(hooks: AdapterHooks, segments: Sequence[Segment], num_rows: int | None) -> object:
        whole = sum(b.sum() for segment in segments for _, b in segment.factors.values())
        spoilt = [
            replace(s, factors={site: (a, b + 0 * whole) for site, (a, b) in s.factors.items()})
            for s in segments
        ]
        return deltas(hooks, spoilt, num_rows)

    monkeypatch.setattr(AdapterHooks, "_deltas", leak)


def wait_for_the_gpu(monkeypatch: pytest.MonkeyPatch, model: torch.nn.Module, *, waits: bool) -> list[str]:
    """Make torch take this CPU for a GPU that is asked about waits, as each forward of `model` may do.

    Returns the modes that torch was asked for, in their order.
    """
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def wait(*_: object) -> None:
        if waits and modes[-1:] == ["error"]:
            raise RuntimeError("called a synchronizing CUDA operation\nmore of it")

    model.register_forward_pre_hook(wait)
    return modes
