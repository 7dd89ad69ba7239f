"""A small base, and adapters of two slots on it."""

import pytest

from portal.bases.base import Base, load_base
from portal.hypernet import Factors
from tests.support.bases import random_factors


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base("mini-qwen3-xs")


@pytest.fixture(scope="module")
def factors(base: Base) -> Factors:
    return random_factors(base, ("q", "v"), rank=2, slots=2, seed=1)
