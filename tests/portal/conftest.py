"""A tiny base of every family, and a source trained on one."""

from pathlib import Path

import pytest

from portal.artifacts.run_record import RunRecord
from portal.bases.base import Base
from tests.support.bases import make_base, make_run
from tests.support.packs import make_pack, run_to_end


@pytest.fixture(params=["qwen3", "llama", "gemma3"])
def any_base(request: pytest.FixtureRequest) -> Base:
    return make_base(f"tiny-{request.param}", request.param)


@pytest.fixture(scope="module")
def bases() -> dict[str, Base]:
    return {
        "small": make_base("small", "qwen3", hidden=24, layers=3, seed=1),
        "target": make_base("target", "gemma3", hidden=28, layers=3, seed=3),
    }


@pytest.fixture(scope="module")
def source(bases: dict[str, Base], tmp_path_factory: pytest.TempPathFactory) -> Path:
    pack = make_pack(bases, [make_run("source", "small")], None)
    run_to_end(pack)
    folder = tmp_path_factory.mktemp("source")
    pack.learners[0].save_artifact(folder, RunRecord.of(pack.learners[0].run))
    return folder / "small"
