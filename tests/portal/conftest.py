"""Shared fixtures: one thread, and a tiny base of every family."""

import pytest
import torch

from portal.bases import Base
from tests.portal.tiny import make_base


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(params=["qwen3", "llama", "gemma3"])
def any_base(request: pytest.FixtureRequest) -> Base:
    return make_base(f"tiny-{request.param}", request.param)
