"""A pack whose learners change each other's numbers, for checks that must find it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from portal.forward.adapter_hooks import AdapterHooks, Segment


def leak_between_companions(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Adapters that share a forward with those of others are scaled by so much more."""
    deltas = AdapterHooks._deltas

    def leak(hooks: AdapterHooks, segments: Sequence[Segment], num_rows: int | None) -> object:
        shared = sum(segment.num_slots for segment in segments) > 3
        scaled = [replace(s, scaling=s.scaling * (factor if shared else 1.0)) for s in segments]
        return deltas(hooks, scaled, num_rows)

    monkeypatch.setattr(AdapterHooks, "_deltas", leak)
