"""The study `demo-eleven`, whole: packed, and the same runs one at a time, each in a fresh folder."""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pyarrow as pa

from benchmarks.comparison import Comparison
from benchmarks.measure import ratio, take_turns
from portal.results import RESULTS, read_table
from sweeps.study.catalogue import STUDIES

TURNS = int(os.environ.get("PORTAL_BENCH_DEMO_TURNS", "1"))
"""A turn takes 22 minutes on two cores."""


def demo() -> list[Comparison]:
    """Packed in two lanes, against single runs in two lanes, both with the executor that `auto` chooses, and
    one after another with all cores.

    How far packed runs score what single ones in lanes alike do is noted.
    """
    with tempfile.TemporaryDirectory(prefix="portal-bench-") as scratch:
        folder = Path(scratch)
        shipped = (STUDIES / "demo-eleven.yaml").read_text()
        alone = shipped + "\npack_size: 1\n"
        ways = {
            "packed": (shipped, "auto"),
            "one after another": (alone, "local"),
            "alone in two lanes": (alone, "auto"),
        }
        counts = dict.fromkeys(ways, 0)

        def run(name: str) -> None:
            counts[name] += 1
            text, executor = ways[name]
            stem = f"{name.replace(' ', '-')}-{counts[name]}"
            study = folder / f"{stem}.yaml"
            study.write_text(text)
            command = [
                sys.executable,
                "-m",
                "portal",
                "sweep",
                "run",
                str(study),
                "--out",
                str(folder / stem),
            ]
            subprocess.run([*command, "--executor", executor], check=True, stdout=subprocess.DEVNULL)

        spent = take_turns({name: partial(run, name) for name in ways}, repeats=TURNS, warm_up=0)
        note = _differences(folder / "packed-1", folder / "alone-in-two-lanes-1")
    return [
        Comparison(
            "the study demo-eleven, whole, packed in two lanes",
            "the same runs one after another, with both cores",
            2.0,
            ratio(spent["packed"], spent["one after another"]),
        ),
        Comparison(
            "the study demo-eleven, whole, packed in two lanes",
            "the same runs one at a time in each of two lanes",
            2.0,
            ratio(spent["packed"], spent["alone in two lanes"]),
            note=note,
        ),
    ]


def _differences(packed: Path, alone: Path) -> str:
    """In words: how far the scores of the two are apart."""
    keys = [(name, "ascending") for name in ("run", "task", "epoch", "split", "base")]
    tables = []
    for folder in (packed, alone):
        (path,) = folder.rglob("results/**/results.parquet")
        tables.append(read_table(path, RESULTS).sort_by(keys))
    one, other = (table.select(["run", "task", "epoch", "split", "base"]) for table in tables)
    assert one.equals(other), "the two ways do not have the same rows"
    loss = max(_relative(*(table["log_loss"] for table in tables)))
    accuracies = [table["acc_norm"].to_pylist() for table in tables]
    unequal = sum(a != b for a, b in zip(*accuracies, strict=True))
    count = len(accuracies[0])
    if not unequal and loss == 0:
        return f"all {count} accuracies and log-losses are equal to the last bit"
    return f"{unequal} of {count} accuracies differ, log-losses by at most {loss:.1e} of their value"


def _relative(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> list[float]:
    return [abs(a - b) / b for a, b in zip(ours.to_pylist(), theirs.to_pylist(), strict=True)]
