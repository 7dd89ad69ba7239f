"""An artifact of a tiny base, and a copy of it to damage."""

import shutil
from pathlib import Path

import pytest

from portal.config import AdapterConfig
from tests.support.artifacts import write_artifact
from tests.support.bases import make_base


@pytest.fixture(scope="package")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of three tasks with random weights, rank 2 and alpha 6; read only."""
    folder = tmp_path_factory.mktemp("artifact")
    write_artifact(folder, make_base("tiny", "qwen3"), AdapterConfig(rank=2, alpha=6))
    return folder


@pytest.fixture
def artifact(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "artifact"))
