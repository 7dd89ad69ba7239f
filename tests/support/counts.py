"""How often a fault is made: a few times in the suite, often in `make nightly`, more in `make chaos`."""

import os
from typing import Any

import pytest

CHAOS = int(os.environ.get("PORTAL_CHAOS", "0"))
"""0 in the suite, 1 in `make nightly`, 10 in `make chaos`."""


def times(few: int, *, nightly: int) -> int:
    """`few` in the suite; `nightly`, as many times as PORTAL_CHAOS says, where it says something."""
    return nightly * CHAOS or few


def nightly(*values: Any) -> list[Any]:
    """Parameters of a test that only `make nightly` tries, beside others that stand for them."""
    return [pytest.param(value, marks=pytest.mark.nightly) for value in values]
