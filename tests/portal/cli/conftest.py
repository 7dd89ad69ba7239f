"""New tasks for the world's artifacts."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def new_tasks(world: Path, tmp_path: Path) -> Path:
    """A folder with the tasks of the world, and one of them under another name."""
    folder = tmp_path / "data"
    shutil.copytree(world / "data", folder)
    shutil.copytree(world / "data" / "sums", folder / "totals")
    return folder
