"""The package's public names are there, typed, and loaded only when they are used."""

import subprocess
import sys
from pathlib import Path

import pytest

import sweeps
from tests.support.studies import TINY


def test_importing_the_package_loads_neither_torch_nor_ray() -> None:
    code = (
        "import sys, sweeps; sweeps.__all__; dir(sweeps); print({'torch', 'ray', 'optuna'} & {*sys.modules})"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", sweeps.__all__)
def test_every_public_name_is_what_it_is_called(name: str) -> None:
    assert getattr(sweeps, name).__name__ == name


def test_a_name_that_is_none_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'run_studdy'"):
        sweeps.run_studdy  # type: ignore[attr-defined]  # noqa: B018


def test_the_status_of_a_study_is_read_from_its_folder(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    study = sweeps.load_study(path)

    assert sweeps.read_status(study, finished).counts["done"] == 9
    assert sweeps.read_status(study.manifest, finished).counts["missing"] == 0
    with pytest.raises(ValueError, match="none: no such folder"):
        sweeps.read_status(study, tmp_path / "none")
