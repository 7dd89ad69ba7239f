"""Lines of text by folder, as a trend that fails nothing: `python -m tools.lines [COMMIT...]`, in `.ci/run`.

Prints a table of the lines at the commits and now, without the tokenizers of embedded bases. Commits that
this clone does not have are left out.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("portal", "sweeps", "analysis", "cluster", "tools", "tests")
KINDS = ("Python", "other text")

Lines = Counter[tuple[str, str]]
"""By folder and kind."""


def lines_at(commit: str | None) -> Lines | None:
    """The lines at a commit, or in the working tree; None where git cannot tell."""
    at = [] if commit is None else [commit]
    command = ["git", "grep", "-I", "-c", "", *at, "--", *FOLDERS, ":!portal/*tokenizer.json"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return counted(done.stdout.splitlines())


def counted(found: Iterable[str]) -> Lines:
    """The sums of what `git grep -c` prints: PATH:LINES, or COMMIT:PATH:LINES."""
    lines = Lines()
    for line in found:
        *_, path, count = line.split(":")
        lines[path.split("/")[0], KINDS[not path.endswith(".py")]] += int(count)
    return lines


def table(columns: Mapping[str, Lines]) -> list[str]:
    """A table in Markdown: a row for each folder and kind, a column for each commit."""
    rows = [
        [f"{folder}, {kind}", *(f"{lines[folder, kind]:,}" for lines in columns.values())]
        for folder in FOLDERS
        for kind in KINDS
    ]
    rows.append(["all", *(f"{lines.total():,}" for lines in columns.values())])
    heads = [["lines", *columns], ["---"] * (1 + len(columns))]
    return [f"| {' | '.join(row)} |" for row in heads + rows]


if __name__ == "__main__":
    measured = {name or "now": lines_at(name) for name in (*sys.argv[1:], None)}
    print("\n".join(table({name: lines for name, lines in measured.items() if lines is not None})))
