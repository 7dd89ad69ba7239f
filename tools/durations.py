"""What tests took and which were skipped: `python -m tools.durations JUNIT.xml...`, in `.ci/run`.

Prints the sixty slowest and a table of seconds by folder. The exit code is 1 where tests were skipped that
tests/goldens/skips.txt does not have: each of its lines is the most skips for a reason, and the reason.
"""

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SKIPS = Path(__file__).parents[1] / "tests" / "goldens" / "skips.txt"
NUM_SLOWEST = 60


@dataclass(frozen=True)
class Case:
    """One test: its module, its name with its parameters, and why it was skipped, if it was."""

    module: str
    name: str
    seconds: float
    skipped: str | None

    @property
    def folder(self) -> str:
        """tests/PACKAGE/PART, or tests for files that are in no folder."""
        return "/".join(self.module.split(".")[:-1][:3])


def read_cases(paths: Iterable[Path]) -> list[Case]:
    """All tests of some JUnit files."""
    return [
        Case(
            node.get("classname", ""),
            node.get("name", ""),
            float(node.get("time", 0)),
            None if (skipped := node.find("skipped")) is None else skipped.get("message", ""),
        )
        for path in paths
        for node in ElementTree.parse(path).iter("testcase")
    ]


def slowest(cases: Sequence[Case]) -> list[str]:
    """A line for each of the slowest tests."""
    ordered = sorted(cases, key=lambda case: case.seconds, reverse=True)[:NUM_SLOWEST]
    return [f"{case.seconds:7.1f} s  {case.module}::{case.name}" for case in ordered]


def table(cases: Sequence[Case]) -> list[str]:
    """A table in Markdown: tests and seconds of all processes by folder, the longest first."""
    seconds, counts = Counter[str](), Counter[str]()
    for case in cases:
        seconds[case.folder] += case.seconds
        counts[case.folder] += 1
    rows = [(folder, counts[folder], total) for folder, total in seconds.most_common()]
    rows.append(("all", len(cases), sum(seconds.values())))
    lines = [f"| {folder} | {count:,} | {total:,.0f} |" for folder, count, total in rows]
    return ["| folder | tests | seconds |", "|---|---|---|", *lines]


def unknown_skips(cases: Sequence[Case], known: str) -> list[str]:
    """A line for each reason with more skips than `known`, the content of SKIPS, has."""
    most = {reason: int(count) for count, _, reason in (line.partition(" ") for line in known.splitlines())}
    found = Counter(case.skipped for case in cases if case.skipped is not None)
    return [
        f"{count} tests were skipped, {most.get(reason, 0)} may be: {reason}"
        for reason, count in found.items()
        if count > most.get(reason, 0)
    ]


if __name__ == "__main__":
    read = read_cases(map(Path, sys.argv[1:]))
    wrong = unknown_skips(read, SKIPS.read_text())
    print("\n".join([*slowest(read), "", *table(read), "", *wrong]))
    sys.exit(bool(wrong))
