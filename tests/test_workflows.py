"""The workflows run what is there, with actions that nobody can change behind their back."""

import re
from pathlib import Path

import pytest
import yaml

import portal
from tests.support.markdown import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def is_ours(used: str) -> bool:
    """Whether what a job uses is a workflow beside it."""
    found = used.startswith("./")
    assert not found or (ROOT / used).is_file(), used
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_and_may_only_read(path: Path) -> None:
    text = path.read_text()
    used = [each for each in re.findall(r"uses: (.*)", text) if not is_ours(each)]

    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", each) for each in used), used
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}


def test_commands_of_the_workflows_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    jobs = [job for path in WORKFLOWS for job in yaml.safe_load(path.read_text())["jobs"].values()]
    asked = {
        target
        for job in jobs
        for step in job.get("steps", ())
        for target in re.findall(r"^make ([\w-]+)", step.get("run", ""))
    }
    asked |= {
        target for job in jobs for target in job.get("strategy", {}).get("matrix", {}).get("target", ())
    }

    assert {"wheel-test", "zoo"} <= asked <= targets
    assert any(step.get("run") == ".ci/run" for job in jobs for step in job.get("steps", ()))
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100


def test_a_release_waits_for_the_suite_and_for_the_wheel() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    suite = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())

    assert set(jobs["publish"]["needs"]) == {"suite", "build"}
    assert jobs["suite"]["uses"] == "./.github/workflows/ci.yml"
    assert "workflow_call" in suite[True]  # what YAML makes of `on`


def test_every_night_runs_what_the_script_of_the_night_does() -> None:
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text())["jobs"]["long"]
    (listed,) = re.findall(r"^NIGHTLY := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert {*job["strategy"]["matrix"]["target"], "wheel-test"} == {*listed.replace("\\", "").split()}
    assert "make nightly" in (ROOT / ".ci" / "nightly").read_text()


def test_the_citation_names_the_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == portal.__version__
