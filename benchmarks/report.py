"""What the report of a study of the paper's size takes: to write, in memory, and to open in a browser."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from portal.config import RunConfig
from portal.results import (
    PREDICTIONS,
    PREDICTIONS_FILE,
    RESULTS,
    RESULTS_FILE,
    RUNS,
    RUNS_FILE,
    RunDetail,
    run_columns,
    write_table,
)
from sweeps.study.expand import Study, load_study

STUDY = "paper"
PAGE_BYTES, OPEN_S = 5_000_000, 2.0
"""Targets: the size of the page, and the time until a browser has it open."""
_CHOICES = 4
_LENGTHS = ("chars", "bytes", "tokens", "lm_eval_chars")
_OPENINGS = 3
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PROBE = """<script>
addEventListener("load", () => document.body.append(`opened in ${performance.now()} ms`));
</script></head>"""


@dataclass(frozen=True)
class Point:
    """A study's planned runs and the scored test rows of its tables; seconds and bytes.

    `open_s` is None where there was no browser: the least of several openings, until `load` is over.
    """

    study: str
    runs: int
    test_rows: int
    write_s: float
    peak_bytes: int
    page_bytes: int
    open_s: float | None


def report() -> list[Point]:
    """The shipped study of everything in the paper, every run done, with made-up answers."""
    return [measure(load_study(STUDY, outline=True))]


def measure(study: Study, *, most_rows: int | None = None) -> Point:
    """Writes the report of the study in a process of its own; at most so many rows per task and split."""
    with tempfile.TemporaryDirectory(prefix="portal-bench-") as scratch:
        folder, out = Path(scratch, "study"), Path(scratch, "report")
        test_rows = write_results(study, folder / "results", most_rows)
        command = [sys.executable, "-m", "portal", "report", str(folder), "--out", str(out)]
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        write_s = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, command)
        page = out / "index.html"
        return Point(
            study.name, len(study.runs), test_rows, write_s, 1024 * usage.ru_maxrss, page.stat().st_size,
            _opening_s(page),
        )  # fmt: skip


def write_results(study: Study, folder: Path, most_rows: int | None = None) -> int:
    """The tables of the study with made-up answers of _CHOICES choices; how many test rows they have."""
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    test_rows = 0
    with pq.ParquetWriter(folder / PREDICTIONS_FILE, PREDICTIONS) as writer:
        for number, run in enumerate(study.runs):
            for place, task, epoch, split in _scored(run):
                count = min(len(study.suite.examples(task, split)), run.data.eval_size, most_rows or 10**9)
                generator = np.random.default_rng((number, epoch, study.tasks.index(task), split == "test"))
                right = generator.random(count) < 0.3 + 0.05 * epoch + 0.2 * (number % 3 == 0)
                rows.append(_row(study, run, run.bases[place].name, task, epoch, split, right))
                if place == 0:
                    writer.write_table(_answers(run.key, task, epoch, split, right, generator))
                    test_rows += count * (split == "test")
    write_table(pa.Table.from_pylist(rows, schema=RESULTS), folder / RESULTS_FILE)
    details = [
        RunDetail(run.key, study.labels[run.key], run.describe(), "done", None, run.model_dump(mode="json"))
        for run in study.runs
    ]
    write_table(pa.Table.from_pylist([each.row() for each in details], schema=RUNS), folder / RUNS_FILE)
    return test_rows


def _scored(run: RunConfig) -> Iterator[tuple[int, str, int, str]]:
    """Base (its place), task, epoch and split of everything that the run scores."""
    epochs = [0]
    if run.train is not None:
        last = run.train.epochs
        epochs = [last] if run.train.evaluate == "last_epoch" else [*range(1, last + 1)]
    for place in range(len(run.bases)):
        for task in run.data.tasks:
            for epoch in epochs:
                yield from ((place, task, epoch, split) for split in ("validation", "test"))


def _row(
    study: Study, run: RunConfig, base: str, task: str, epoch: int, split: str, right: np.ndarray
) -> dict[str, Any]:
    trains = run.train is not None
    accuracy = float(right.mean())
    return {
        **dict.fromkeys(RESULTS.names),
        **run_columns(run, study.labels[run.key]),
        "study": study.name, "base": base, "base_revision": "0", "task": task, "epoch": epoch, "split": split,
        "prompt_set": "paper", "eval_set": f"{task} {split}", "num_examples": len(right),
        "chance": 1 / _CHOICES, "acc": accuracy,
        "acc_norm": accuracy, "score": accuracy, "metric": "acc_norm",
        "acc_norm_unit": "chars", "acc_norm_bytes": accuracy, "acc_norm_tokens": accuracy,
        "acc_norm_lm_eval": accuracy, "ties": 0, "log_loss": 2.0 - accuracy, "gold_tokens": len(right),
        "train_tokens": 10**6 * epoch if trains else None, "train_flops": 1e15 * epoch if trains else None,
        "trained_params": 10**7 if trains else None, "wall_s": 3600.0 * epoch if trains else None,
        "device": "NVIDIA B200",
    }  # fmt: skip


def _answers(
    key: str, task: str, epoch: int, split: str, right: np.ndarray, generator: np.random.Generator
) -> pa.Table:
    """Predictions on rows that lie in clusters of two."""
    count = len(right)
    gold = np.arange(count) % _CHOICES
    scores = generator.normal(-9, 1, (count, _CHOICES)).astype(np.float32)
    scores[np.arange(count), np.where(right, gold, (gold + 1) % _CHOICES)] = -4.0
    lists = partial(_lists, count)
    constant = {name: pa.array([value] * count) for name, value in (("run", key), ("task", task))}
    columns = {
        **constant,
        "epoch": pa.array([epoch] * count, pa.int32()),
        "split": pa.array([split] * count),
        "example": pa.array([f"{number:05d}" for number in range(count)]),
        "cluster": pa.array([f"c{number // 2:05d}" for number in range(count)]),
        "scores": lists(scores.ravel(), pa.float32()),
        **{name: lists(np.full(count * _CHOICES, 8), pa.int32()) for name in _LENGTHS},
        "gold": pa.array(gold, pa.int32()),
        "value": pa.nulls(count, pa.float64()),
    }
    return pa.table([columns[name] for name in PREDICTIONS.names], schema=PREDICTIONS)


def _lists(count: int, values: np.ndarray, kind: pa.DataType) -> pa.Array:
    offsets = pa.array(np.arange(count + 1) * _CHOICES, pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values, kind))


def _opening_s(page: Path) -> float | None:
    """Seconds until the page is loaded in a browser that has not seen it; None where there is no browser."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        return None
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text(encoding="utf-8").replace("</head>", _PROBE, 1), encoding="utf-8")
    return min(_open(browser, probed) for _ in range(_OPENINGS))


def _open(browser: str, page: Path) -> float:
    with tempfile.TemporaryDirectory(prefix="portal-bench-") as profile:
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom",
            f"--user-data-dir={profile}", page.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"opened in ([\d.]+) ms", done.stdout)
    if found is None:
        raise RuntimeError(f"{page}: the browser did not say when it was open")
    return float(found.group(1)) / 1000
