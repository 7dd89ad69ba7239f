"""An output folder that an earlier version left: eleven runs done, two interrupted in training."""

import shutil
from pathlib import Path

import pytest

from sweeps.study.manifest import StudyManifest, read_manifest
from tests.support.earlier_version import EARLIER_VERSION


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EARLIER_VERSION / "out", tmp_path / "out"))


@pytest.fixture
def manifest(out: Path) -> StudyManifest:
    return read_manifest(out)
