"""The code that trained a run: package versions, and the commit of the checkout that it came from.

The build of a wheel loads this module by itself: it imports nothing but Python's own.
"""

import json
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RECORD = "built-from.json"
"""What a wheel holds beside this module: the state of the checkout that it was built from."""
PACKAGES = ("portal-sweeps", "torch", "transformers", "ray", "pyarrow")


@cache
def provenance() -> dict[str, Any]:
    """`{"versions": {package: version}, "git": {"commit", "modified"} or None}`.

    Versions are those of the packages that are installed; None stands for a checkout that is not known.
    """
    found = {package: _version(package) for package in PACKAGES}
    return {"versions": {name: each for name, each in found.items() if each}, "git": code_state()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # `portal gpu-check` does without Ray
        return None


def code_state(file: Path = Path(__file__)) -> dict[str, Any] | None:
    """The commit of this code, and whether it was changed: what it was built from, or its checkout's."""
    record = file.with_name(RECORD)
    if record.is_file():  # no checkout has it
        built: dict[str, Any] = json.loads(record.read_text())
        return built
    return git_state(file)


def describe_code(state: dict[str, Any] | None) -> str:
    """The commit for people; a package that was built outside a checkout has none."""
    if state is None:
        return "commit not known"
    return state["commit"][:12] + (" with changes" if state["modified"] else "")


def git_state(file: Path = Path(__file__)) -> dict[str, Any] | None:
    """The commit that `file` is checked out from, and whether tracked files differ from it.

    None for a file that no checkout tracks: an installed package, even inside a checkout of something else.
    """
    folder = file.parent
    try:
        _git(folder, "ls-files", "--error-unmatch", file.name)
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return {"commit": _git(folder, "rev-parse", "HEAD"), "modified": bool(changes)}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout.strip()
