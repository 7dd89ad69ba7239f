"""What a run folder says about the code that trained it."""

import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from sweeps.store.provenance import PACKAGES, RECORD, code_state, describe_code, git_state, provenance
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", "-C", str(folder), *identity, "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The module in a package that lies in no checkout."""
    file = tmp_path / "sweeps" / "store" / "provenance.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    return file


def test_a_checkout_has_a_commit_and_says_whether_tracked_files_differ(file: Path, tmp_path: Path) -> None:
    assert git_state(file) is None
    git(tmp_path, "init")
    (tmp_path / "notes.txt").write_text("another project")
    git(tmp_path, "add", "notes.txt")
    git(tmp_path, "commit", "-m", "first")
    assert git_state(file) is None  # an installed package
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-m", "second")

    (tmp_path / "results.txt").write_text("untracked")
    beside = git_state(file)
    file.write_text("x = 1")

    commit = git(tmp_path, "rev-parse", "HEAD")
    assert beside == {"commit": commit, "modified": False}
    assert git_state(file) == {"commit": commit, "modified": True}


def test_an_installed_package_has_the_commit_that_it_was_built_from(file: Path) -> None:
    assert code_state(file) is None
    assert describe_code(None) == "commit not known"

    state = {"commit": "0123456789abcdef", "modified": True}
    file.with_name(RECORD).write_text(json.dumps(state))

    assert code_state(file) == state
    assert describe_code(state) == "0123456789ab with changes"


def test_this_checkout_is_seen_wherever_the_file_lies_in_it() -> None:
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        pytest.skip("not in a checkout")

    state = git_state()

    assert state is not None
    assert state["commit"] == git(root, "rev-parse", "HEAD")


def test_a_run_folder_names_config_versions_and_commit(tiny_study: Study, tmp_path: Path) -> None:
    run = tiny_study.runs[0]
    RunStore(tmp_path).write_run(run)

    content = json.loads((tmp_path / "runs" / run.key / "run.json").read_bytes())

    assert content["config"] == run.model_dump(mode="json")
    assert content["versions"] == {package: version(package) for package in PACKAGES}
    assert content["git"] == provenance()["git"]
