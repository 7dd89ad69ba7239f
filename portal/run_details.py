"""What a study's folder tells of its single runs, beside their scores: settings, losses, questions.

Loss table: one row per (run, stretch of steps). Question table: one row per (task, example) of test rows with
choices. Run table: one row per planned run, whatever became of it. Losses are in nats per token.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pyarrow as pa

from portal.results import METADATA, read_table
from portal.storage.paths import Folder

LOSSES_FILE = "losses.parquet"
"""In the folder of a run that took steps, and beside a study's collected tables."""
QUESTIONS_FILE = "questions.parquet"
RUNS_FILE = "runs.parquet"
"""Beside a study's collected tables, as QUESTIONS_FILE is."""

LOSSES = pa.schema(
    [
        ("run", pa.string()),
        ("step", pa.int64()),  # steps taken when the stretch ended
        ("loss", pa.float64()),  # mean over its steps of the mean over tasks and bases
    ],
    metadata=METADATA,
)

QUESTIONS = pa.schema(
    [
        ("task", pa.string()),
        ("example", pa.string()),
        ("prompt", pa.string()),  # its end, where it is long
        ("choices", pa.list_(pa.string())),  # their starts
    ],
    metadata=METADATA,
)

RUNS = pa.schema(
    [
        ("run", pa.string()),
        ("label", pa.string()),
        ("name", pa.string()),  # what the run is, in a line
        ("state", pa.string()),  # of State
        ("cause", pa.string()),  # why it ended before its end, or cannot start; else null
        ("settings", pa.string()),  # its whole config as JSON
        ("device", pa.string()),  # that it was finished on; null: not known
        ("threads", pa.int32()),  # of the CPU, of the process that finished it; null: not known
        ("operations", pa.list_(pa.string())),  # of its bases: plain or fused
        ("peak_bytes", pa.int64()),  # most memory of that process, on its device; null: not known
        ("log", pa.list_(pa.string())),  # the last lines on its pack
    ],
    metadata=METADATA,
)

State = Literal["done", "failed", "paused", "stopped", "missing"]
STATES: tuple[State, ...] = get_args(State)
_KEY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class RunDetail:
    """A row of RUNS."""

    run: str
    label: str
    name: str
    state: State
    cause: str | None
    settings: Mapping[str, Any]
    device: str | None = None
    threads: int | None = None
    operations: tuple[str, ...] = ()
    peak_bytes: int | None = None
    log: tuple[str, ...] = ()
    losses: tuple[tuple[int, float], ...] = field(default=())
    """(step, loss) of its stretches, from LOSSES."""

    def row(self) -> dict[str, Any]:
        """The values by column of RUNS."""
        values = {name: getattr(self, name) for name in RUNS.names}
        return values | {"settings": json.dumps(self.settings, sort_keys=True)}


@dataclass(frozen=True)
class Question:
    """A row of QUESTIONS: the end of the prompt, and the starts of the choices."""

    prompt: str
    choices: tuple[str, ...]


def read_run_details(folder: Folder) -> dict[str, RunDetail]:
    """The runs of the tables in `folder`, by key, in their order; none where nobody wrote any.

    ValueError as of `read_table`, and for a row that no study of ours has: its key names a file.
    """
    path = folder / RUNS_FILE
    if not path.is_file():
        return {}
    losses: dict[str, list[tuple[int, float]]] = {}
    if (folder / LOSSES_FILE).is_file():
        for row in read_table(folder / LOSSES_FILE, LOSSES).to_pylist():
            losses.setdefault(row["run"], []).append((row["step"], row["loss"]))
    details = {}
    for row in read_table(path, RUNS).to_pylist():
        settings = _settings_of(row)
        if settings is None:
            raise ValueError(f"{path}: not a table that portal wrote (run {row['run']!r})")
        lists = {name: tuple(row[name] or ()) for name in ("operations", "log")}
        own = {"settings": settings, **lists}
        details[row["run"]] = RunDetail(**{**row, **own}, losses=tuple(losses.get(row["run"], ())))
    return details


def _settings_of(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings of a row that describes a run; None of any other."""
    try:
        settings = json.loads(row["settings"])
        told = settings["method"], settings["seed"], [base["name"] for base in settings["bases"]]
    except (TypeError, ValueError, KeyError):
        return None
    is_run = _KEY.fullmatch(row["run"] or "") and row["state"] in STATES and row["label"] and row["name"]
    return settings if is_run and isinstance(told[0], str) else None


def read_questions(folder: Folder) -> dict[tuple[str, str], Question]:
    """The questions of the tables in `folder`, by task and example; none where nobody wrote any."""
    path = folder / QUESTIONS_FILE
    if not path.is_file():
        return {}
    return {
        (row["task"], row["example"]): Question(row["prompt"] or "", tuple(row["choices"] or ()))
        for row in read_table(path, QUESTIONS).to_pylist()
    }
