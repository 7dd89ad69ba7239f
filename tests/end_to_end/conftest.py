"""A study of every method that a launch of today has ended, for all tests that look at what it left."""

import shutil
from pathlib import Path

import pytest

from tests.support.built import built_once
from tests.support.every_method import end_half_trained


@pytest.fixture
def every_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a copy of the fixture whose folder `half` is ended."""
    ended = built_once("every-method", end_half_trained)
    copy = Path(shutil.copytree(ended, tmp_path / "every-method"))
    monkeypatch.chdir(copy)
    return copy
