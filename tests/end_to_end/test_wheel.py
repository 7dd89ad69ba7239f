"""What a user installs: a wheel in an environment of its own, away from the checkout."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.store.provenance import describe_code, git_state
from tests.support.api_page import run_api_page
from tests.support.markdown import ROOT

PIP = ("-m", "pip", "--no-input", "--disable-pip-version-check")


def run(*command: str | Path, folder: Path) -> str:
    """Its output; an installed package must not find the checkout by the environment."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.wheel
def test_a_wheel_is_built_from_the_files_that_the_image_gets(tmp_path: Path) -> None:
    context, dockerfile = tmp_path / "context", (ROOT / "cluster/templates/Dockerfile").read_text()
    context.mkdir()
    for line in re.findall(r"^COPY (.*)$", dockerfile.partition("AS cuda")[2], re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            place = context / target / (source.rpartition("/")[2] if target.endswith("/") else "")
            place.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, place)

    build = (*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path)
    run(sys.executable, *build, context, folder=tmp_path)

    assert len(list(tmp_path.glob("portal_sweeps-*.whl"))) == 1


@pytest.mark.wheel
def test_a_wheel_alone_runs_a_study_and_knows_its_commit(tmp_path: Path) -> None:
    build = (*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path)
    run(sys.executable, *build, ROOT, folder=tmp_path)
    (wheel,) = tmp_path.glob("portal_sweeps-*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv", folder=tmp_path)
    python, portal = tmp_path / "venv" / "bin" / "python", tmp_path / "venv" / "bin" / "portal"
    pinned = ("--constraint", ROOT / "constraints.txt")
    run(python, *PIP, "install", "--quiet", *pinned, wheel, folder=tmp_path)
    work = tmp_path / "work"
    work.mkdir()

    where = run(python, "-c", "import portal; print(portal.__file__)", folder=work)
    version = run(portal, "--version", folder=work)
    doctor = run(portal, "doctor", folder=work)
    run_api_page(python, work)

    assert Path(where).is_relative_to(tmp_path / "venv")
    if (state := git_state(ROOT / "sweeps" / "store" / "provenance.py")) is not None:
        assert describe_code(state) in version
    assert "torch" in doctor
