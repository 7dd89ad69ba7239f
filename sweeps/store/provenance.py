"""The code that trained a run: package versions, and the commit of the checkout that it came from."""

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("portal-sweeps", "torch", "transformers", "ray", "pyarrow")


@cache
def provenance() -> dict[str, Any]:
    """`{"versions": {package: version}, "git": {"commit", "modified"} or None}`, None outside a checkout."""
    return {"versions": {package: version(package) for package in PACKAGES}, "git": git_state()}


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
