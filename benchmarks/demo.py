"""The demo study, whole: packed, and the same runs one at a time, each in a fresh folder."""

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
from sweeps.study import STUDIES

TURNS = int(os.environ.get("PORTAL_BENCH_DEMO_TURNS", "1"))
"""A turn takes a quarter of an hour and more on two cores."""


def demo() -> list[Comparison]:
    """Both with the same executor and lanes; their tables must agree."""
    with tempfile.TemporaryDirectory(prefix="portal-bench-") as scratch:
        folder = Path(scratch)
        shipped = (STUDIES / "demo.yaml").read_text()
        alone = "\n".join(line for line in shipped.splitlines() if not line.startswith("pack_size:"))
        studies = {"ours": shipped, "alone": alone + "\npack_size: 1\n"}
        counts = dict.fromkeys(studies, 0)

        def run(name: str) -> None:
            counts[name] += 1
            study = folder / f"{name}.yaml"
            study.write_text(studies[name])
            out = folder / f"{name}-{counts[name]}"
            command = [sys.executable, "-m", "portal", "sweep", "run", str(study), "--out", str(out)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

        spent = take_turns({name: partial(run, name) for name in studies}, repeats=TURNS, warm_up=0)
        note = _differences(folder / "ours-1", folder / "alone-1")
    return [
        Comparison(
            "the demo study, whole, two lanes",
            "the same runs, one at a time in each lane",
            2.0,
            ratio(spent["ours"], spent["alone"]),
            note=note,
        )
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
    return f"{unequal} of {count} accuracies differ, log-losses by at most {loss:.1e} of their value"


def _relative(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> list[float]:
    return [abs(a - b) / b for a, b in zip(ours.to_pylist(), theirs.to_pylist(), strict=True)]
