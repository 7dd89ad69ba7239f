"""A study of every method that a launch of today has ended, for all tests that look at what it left."""

import shutil
from contextlib import chdir
from pathlib import Path

import pytest
import torch

from sweeps.launch.driver import run_study
from sweeps.study.expand import load_study
from tests.support.built import built_once
from tests.support.markdown import ROOT
from tests.support.studies import silent

FOLDER = ROOT / "tests" / "fixtures" / "ea55e6a" / "folder"


def end_half_trained(out: Path) -> None:
    """Put a copy of the fixture into `out` and train its half-trained packs to their end."""
    shutil.copytree(FOLDER, out, dirs_exist_ok=True)
    torch.set_num_threads(1)
    with chdir(out):
        study = load_study("every-method.yaml")
        outcome = run_study(study, Path("half"), executor="local", console=silent())
    assert (outcome.is_done, outcome.trained) == (True, len(study.runs))


@pytest.fixture(scope="session")
def ended() -> Path:
    return built_once("every-method", end_half_trained)


@pytest.fixture
def every_method(ended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a copy of the fixture whose folder `half` is ended."""
    copy = Path(shutil.copytree(ended, tmp_path / "every-method"))
    monkeypatch.chdir(copy)
    return copy
