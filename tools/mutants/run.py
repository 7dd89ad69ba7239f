"""Which mutants the tests catch: `python -m tools.mutants.run [NAME...]`, each in a copy of the tree.

mutants.yaml holds fifty that draw.py drew from portal and sweeps, and ten by hand. 44 were drawn from ea55e6a
with seed 13, and six from a later tree with seed 19, for those whose code had left. One is found by the
qualified name of its function and its line, in whatever file they are now. Where that line was rewritten, its
entry gets the line that means the same (`now: {function, old, new}`). `before` is the first test of ea55e6a
that caught it, among the tests of its file, of its importers and of its package. `after` is that of commit
6227ca80; for two, tests/end_to_end/test_portallib.py and tests/portal/artifacts/test_artifact_files.py were
asked, too.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tools.mutants.draw import functions

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).with_name("mutants.yaml")
ELSEWHERE = ("real", "chaos", "demo", "zoo", "serve", "wheel", "nightly")
"""Marks of tests that `make test` leaves out; ea55e6a has no nightly ones."""


def find_place(root: Path, wanted: dict[str, Any]) -> tuple[Path, int]:
    """The file, and the number of the line in it, from 0; ValueError where it is not there once."""
    found = [
        (path, number)
        for folder in ("portal", "sweeps", "tools")
        for path in sorted((root / folder).rglob("*.py"))
        if wanted["function"].rpartition(".")[2] in (text := path.read_text())
        for name, function in functions(path)
        if name == wanted["function"]
        for number, line in enumerate(text.splitlines())
        if line.strip() == wanted["old"] and function.lineno <= number + 1 <= (function.end_lineno or 0)
    ]
    if len(found) != 1:
        raise ValueError(f"{wanted['function']} has its line in {len(found)} places")
    return found[0]


def narrow_tests(root: Path, path: Path) -> list[list[str]]:
    """Files of tests: the one of this file's name, those that import it, those of its package."""
    module = path.relative_to(root).with_suffix("")
    mirrored = root / "tests" / module.parent / f"test_{module.name}.py"
    name = re.compile(rf"\b{'.'.join(module.parts)}\b")
    tests = sorted((root / "tests").rglob("test_*.py"))
    importing = [test for test in tests if name.search(test.read_text())]
    groups = [[mirrored], importing, [test for test in tests if test.parent == mirrored.parent]]
    seen: set[Path] = set()
    fresh = []
    for group in groups:
        fresh.append([str(test) for test in group if test in tests and test not in seen])
        seen |= set(group)
    return fresh


def caught_by(root: Path, wanted: dict[str, Any], tests: list[str], options: list[str]) -> str | None:
    """The first test that fails with the mutant in place, or None; one that hangs fails by its timeout."""
    path, number = find_place(root, wanted)
    before = path.read_text()
    lines = before.splitlines(keepends=True)
    lines[number] = lines[number].replace(wanted["old"], wanted["new"])
    path.write_text("".join(lines))
    groups = [tests] if tests else narrow_tests(root, path)
    failures = (first_failure(root, group, options) for group in groups if group)
    try:
        return next((failed for failed in failures if failed is not None), None)
    finally:
        path.write_text(before)


def first_failure(root: Path, tests: list[str], options: list[str]) -> str | None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout", "300"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    known = (root / "pyproject.toml").read_text()
    left_out = " or ".join(mark for mark in ELSEWHERE if f'"{mark}:' in known)
    command += ["-m", f"not ({left_out})", *options, *tests]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode in (0, 5):  # 5: nothing was selected
        return None
    if done.returncode not in (1, 2):  # 2: a module cannot be imported
        raise RuntimeError(f"pytest ends with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    named = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return named[1] if named else f"{tests[0]} (status {done.returncode})"


def copy_tree(root: Path, place: Path) -> None:
    """The tracked files as a git repository of their own, which some tests ask for."""
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, place / name)
    (place / ".venv").symlink_to((root / ".venv").resolve())
    for command in ("init -q", "add -A", "-c user.name=x -c user.email=x@x.x commit -qm copy"):
        subprocess.run(["git", *command.split()], cwd=place, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Which mutants the tests catch.")
    parser.add_argument("names", nargs="*", help="without any: all")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the tree, of which a copy is changed")
    parser.add_argument("--tests", default="", help="unset: those of the file, then wider ones")
    parser.add_argument("--options", default="", help="further options of pytest, such as '-n 2'")
    parser.add_argument("--as-drawn", action="store_true", help="take the places of ea55e6a")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        copy_tree(asked.tree, Path(scratch))
        for mutant in yaml.safe_load(DATA.read_text()):
            if asked.names and mutant["name"] not in asked.names:
                continue
            wanted = mutant if asked.as_drawn else mutant | mutant.get("now", {})
            try:
                found = caught_by(Path(scratch), wanted, asked.tests.split(), asked.options.split())
            except ValueError as error:
                found = f"no place: {error}"
            print(f"{mutant['name']}: {found}", flush=True)


if __name__ == "__main__":
    main()
