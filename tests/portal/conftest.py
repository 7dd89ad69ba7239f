"""Shared fixtures: one thread, and a tiny base of every family."""

import pytest
import torch
from hypothesis import settings

from portal.bases import Base
from tests.portal.tiny import make_base

settings.register_profile("busy machine", deadline=None, database=None)
settings.load_profile("busy machine")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(params=["qwen3", "llama", "gemma3"])
def any_base(request: pytest.FixtureRequest) -> Base:
    return make_base(f"tiny-{request.param}", request.param)
