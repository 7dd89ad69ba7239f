"""The study `every-method` of the fixture, half trained by commit ea55e6a, as a launch of today ends it."""

import shutil
from contextlib import chdir
from pathlib import Path

import torch

from sweeps.launch.driver import run_study
from sweeps.study.expand import load_study
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
