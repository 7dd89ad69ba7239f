"""The site is made of what the repository holds: dead links fail, formulas and commands are on its pages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.markdown import ROOT


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_site_has_formulas_commands_names_and_a_search_that_needs_no_server(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path)

    assert done.returncode == 0, done.stderr
    method, commands, names = (
        (tmp_path / page).read_text()
        for page in ("method.html", "reference/command-line.html", "reference/python.html")
    )
    assert method.count("<math") > 100
    assert "```math" not in method
    assert "portal sweep plan" in commands
    assert 'id="portal.artifacts.artifact.Artifact"' in names
    assert (tmp_path / "search" / "search_index.js").is_file()
    assert "https://fonts" not in method
    keys = (tmp_path / "reference" / "study-file.html").read_text()
    assert '<a href="#train">train</a>' in keys
    assert "Decay of the moving average of each task" in keys


@pytest.mark.slow
@pytest.mark.parametrize(
    "link", ["[gone](gone.md)", "[gone](method.md#gone)", "[gone](../portal/gone.py)", "::: portal.gone"]
)
def test_what_leads_nowhere_fails(link: str, tmp_path: Path) -> None:
    for part in ("docs", ".ci", "mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
    for package in ("portal", "sweeps", "analysis", "cluster", "benchmarks", "tests", "README.md"):
        (tmp_path / package).symlink_to(ROOT / package)
    with (tmp_path / "docs" / "glossary.md").open("a") as page:
        page.write(f"\n{link}\n")

    done = build(tmp_path, tmp_path / "site")

    assert done.returncode != 0
    assert "gone" in done.stderr
