"""An output folder that an earlier version left: eleven runs done, two interrupted in training."""

import shutil
from pathlib import Path

import pytest

from sweeps.study.manifest import StudyManifest, read_manifest

FIXTURE = Path(__file__).parents[2] / "fixtures" / "v0.1.0"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE / "out", tmp_path / "out"))


@pytest.fixture
def manifest(out: Path) -> StudyManifest:
    return read_manifest(out)
