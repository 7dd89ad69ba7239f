"""The code that trained a run: package versions, and the commit of the checkout that it came from.

The build of a wheel loads this module by itself: it imports nothing but Python's own.
"""

import json
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

RECORD = "built-from.json"
"""What a wheel holds beside this module: the state of the checkout that it was built from."""
PACKAGES = ("portal-sweeps", "torch", "transformers", "ray", "pyarrow")


@cache
def provenance() -> dict[str, Any]:
    """`{"versions": {package: version}, "git": {"commit", "modified"} or None}`.

    None for a package whose checkout is not known.
    """
    return {"versions": {package: version(package) for package in PACKAGES}, "git": code_state()}


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
