"""A tiny base of every family, an artifact trained on one, and a pack of unlike runs at its end."""

from pathlib import Path

import pytest

from portal.bases.base import Base
from tests.support.bases import make_base
from tests.support.packs import FinishedPack, Tiny, mixed_runs, save_source


@pytest.fixture(params=["qwen3", "llama", "gemma3"])
def any_base(request: pytest.FixtureRequest) -> Base:
    return make_base(f"tiny-{request.param}", request.param)


@pytest.fixture(scope="session")
def bases() -> dict[str, Base]:
    return {
        "small": make_base("small", "qwen3", hidden=24, layers=3, seed=1),
        "target": make_base("target", "gemma3", hidden=28, layers=3, seed=3),
    }


@pytest.fixture(scope="session")
def source(bases: dict[str, Base], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_source(bases, tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def tiny(bases: dict[str, Base], source: Path) -> Tiny:
    return Tiny(bases, source)


@pytest.fixture(scope="session")
def mixed_end(tiny: Tiny) -> FinishedPack:
    """The pack of `mixed_runs`, stepped to its end in one go; read only."""
    return tiny.ended(*mixed_runs())
