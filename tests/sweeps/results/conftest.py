"""An output folder that an earlier version left: eleven runs done, two interrupted in training."""

import shutil
from pathlib import Path

import pytest

from sweeps.study.manifest import StudyManifest, read_manifest

INTERRUPTED = Path(__file__).parents[2] / "fixtures" / "ea55e6a" / "folder" / "interrupted"
"""Nine runs are done, two ports interrupted in training, two transfers not begun."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return Path(shutil.copytree(INTERRUPTED, tmp_path / "out"))


@pytest.fixture
def manifest(out: Path) -> StudyManifest:
    return read_manifest(out)
