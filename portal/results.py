"""The contract with analysis: tables of results and predictions, records of a study and of its runs.

Result table: one row per (run, task, epoch, split). Prediction table: one row per (run, task, epoch, split,
example). Generation table: one row per example of a task with written answers, alike. Latent table: one row
per (run, task) of a run that trains latents. Loss table: one row per (run, stretch of steps). Question table:
one row per (task, example) of test rows with choices. Run table: one row per planned run, whatever became of
it. Units: `wall_s` seconds of training until this epoch ended, `train_flops` floating-point operations,
`train_tokens` tokens pushed through the base while training (padding not counted), losses and log-losses in
nats per token. A value that has no meaning for a row is null, never 0.

The version of a table is that of its file. Older files are upgraded as they are read, and never rewritten.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pyarrow as pa
from pydantic import Field

from portal.config import RunConfig
from portal.frozen import Frozen
from portal.storage.atomic import write_bytes_atomic
from portal.storage.parquet import Filters, decode_schema, decode_table, encode_table
from portal.storage.paths import Folder
from portal.storage.records import Record

SCHEMA_VERSION = 8
RESULTS_FILE, PREDICTIONS_FILE = "results.parquet", "predictions.parquet"
"""In a run's folder, and beside each other where a study's tables are collected."""
GENERATIONS_FILE = "generations.parquet"
"""Beside them, where a run has written answers."""
LATENTS_FILE = "latents.parquet"
"""Beside them, where a run has trained task latents; a run of an earlier version left none."""
STUDY_FILE = "study.json"
"""The `StudyInfo` beside a study's collected tables."""
ACC_NORM = "acc_norm"
"""The headline metric of choices; that of a task with written answers is of evaluate.text_metrics."""
UNITS = {"chars": "chars", "bytes": "bytes", "tokens": "tokens", "lm-eval": "lm_eval_chars"}
"""Units of acc_norm's denominator, a choice's length, each with the column of predictions that has it."""
TASK_FILE = "task file"
"""The prompt set of a task that a user's file renders, whatever suite it stands beside."""
MANY_TASKS = 24
"""More tasks than these are summed up by kind, or folded away, wherever people read them."""
NO_KIND = "no kind"
"""What stands for the kind of tasks that have none, beside those that have one."""
_VERSION_KEY = b"portal_schema_version"
METADATA = {_VERSION_KEY: str(SCHEMA_VERSION).encode()}

RESULTS = pa.schema(
    [
        ("run", pa.string()),  # content key of the run
        ("study", pa.string()),  # name of the study the row was collected for
        ("method", pa.string()),  # of config.METHODS
        ("label", pa.string()),  # what the study calls it: tells apart settings that no other column does
        ("sources", pa.list_(pa.string())),  # source bases of a port or a source run, else null
        ("base", pa.string()),  # the base the scores were measured on
        ("base_revision", pa.string()),
        ("modules", pa.string()),  # "q,v"; null for method base
        ("rank", pa.int32()),  # null for method base
        ("size", pa.int32()),  # calibration rows per task (cap), its port's; null where it has no meaning
        ("seed", pa.int32()),  # null where it has no meaning
        ("task", pa.string()),
        ("epoch", pa.int32()),  # 0: before any training
        ("split", pa.string()),  # validation or test
        ("prompt_set", pa.string()),
        ("eval_set", pa.string()),  # sha256 over the scored rows of this task and split
        ("num_examples", pa.int32()),
        ("chance", pa.float64()),  # mean of 1 / number of choices
        ("majority", pa.float64()),  # share of the most frequent answer; null where choices differ by row
        ("acc", pa.float64()),  # of n tied choices the gold one counts 1 / n, here and in acc_norm
        ("acc_norm", pa.float64()),
        ("acc_norm_unit", pa.string()),  # of UNITS: what acc_norm divides by
        ("acc_norm_bytes", pa.float64()),
        ("acc_norm_tokens", pa.float64()),
        ("acc_norm_lm_eval", pa.float64()),
        ("ties", pa.int32()),  # examples whose highest choice log-likelihood is not one choice's alone
        ("log_loss", pa.float64()),
        ("gold_tokens", pa.int64()),
        ("train_tokens", pa.int64()),
        ("train_flops", pa.float64()),
        ("trained_params", pa.int64()),
        ("wall_s", pa.float64()),
        ("norm_ratio", pa.float64()),  # mean ||dW|| / ||dW_source|| of a transferred adapter, else null
        ("calibrated", pa.bool_()),  # whether it, or a run it shows, trained on rows of the task; else null
        ("kept", pa.bool_()),  # whether the artifact is of this epoch; null: there is none, or not yet
        ("train_rows", pa.int32()),  # rows of the task that the run, or its port, trained on; else null
        ("keeps_best", pa.bool_()),  # whether it chose its epoch on validation rows; null: not collected
        ("choices_together", pa.bool_()),  # whether a scored row held all choices, or one of them
        ("metric", pa.string()),  # the task's headline: acc_norm, or that of its written answers
        ("score", pa.float64()),  # by it: 0 to 1, higher is better; acc and acc_norm are null of the latter
        ("unended", pa.int32()),  # written answers as long as they may be; null: choices
        ("device", pa.string()),
    ],
    metadata=METADATA,
)

PREDICTIONS = pa.schema(
    [
        ("run", pa.string()),
        ("task", pa.string()),
        ("epoch", pa.int32()),
        ("split", pa.string()),
        ("example", pa.string()),
        ("cluster", pa.string()),
        ("scores", pa.list_(pa.float32())),  # log-likelihood of each choice, nats
        ("chars", pa.list_(pa.int32())),  # length of each choice with its leading space
        ("bytes", pa.list_(pa.int32())),
        ("tokens", pa.list_(pa.int32())),
        ("lm_eval_chars", pa.list_(pa.int32())),  # without the leading space, as lm-eval counts
        ("gold", pa.int32()),
        ("value", pa.float64()),  # what the written answer is worth, 0 to 1; null: choices
    ],
    metadata=METADATA,
)

GENERATIONS = pa.schema(
    [
        ("run", pa.string()),
        ("task", pa.string()),
        ("epoch", pa.int32()),
        ("split", pa.string()),
        ("example", pa.string()),
        ("base", pa.string()),  # that wrote it
        ("prompt", pa.string()),  # as its tokenizer gives the tokens back
        ("references", pa.list_(pa.string())),
        ("text", pa.string()),  # without the end token and any stop text
        ("tokens", pa.int32()),  # that were written, with the end token
        ("reason", pa.string()),  # why it ended: end, stop, or length
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("error", pa.string()),  # what the metric failed with, else null; such an answer is worth 0
    ],
    metadata=METADATA,
)

LATENTS = pa.schema(
    [
        ("run", pa.string()),
        ("task", pa.string()),
        ("latent", pa.list_(pa.float32())),  # of one width within a run
    ],
    metadata=METADATA,
)


@dataclass(frozen=True)
class AddedColumn:
    """A column that came after schema version 1, and its value in the rows of older files.

    That is the value of the column `copies` where one is named, else `default`.
    """

    since: int
    default: Any = None
    copies: str | None = None


ADDED_COLUMNS = {
    "acc_norm_bytes": AddedColumn(since=2),
    "acc_norm_tokens": AddedColumn(since=2),
    "acc_norm_lm_eval": AddedColumn(since=2),
    "ties": AddedColumn(since=2),
    "lm_eval_chars": AddedColumn(since=2),
    "label": AddedColumn(since=3, copies="method"),  # a run's own table has no other label today either
    "norm_ratio": AddedColumn(since=3),
    "majority": AddedColumn(since=4),
    "calibrated": AddedColumn(since=5),
    "kept": AddedColumn(since=5),
    "train_rows": AddedColumn(since=6),
    "keeps_best": AddedColumn(since=6),
    "choices_together": AddedColumn(since=7),
    "metric": AddedColumn(since=8, default=ACC_NORM),
    "score": AddedColumn(since=8, copies="acc_norm"),
    "unended": AddedColumn(since=8),
    "value": AddedColumn(since=8),
}
"""All other columns exist since version 1, and none was renamed. Some have changed their meaning: `size` of a
run on all rows is null in version 1 and the rows of its largest task since 2; `prompt_set` of a user's task
file is that of the suite beside it until version 2 and TASK_FILE since 3; in `acc` and every `acc_norm` n
tied choices were the first of them until version 5, and since 6 gold counts 1 / n if it is one of them."""


def write_table(table: pa.Table, path: Folder) -> None:
    """Write `table` whole: under a temporary name, then renamed; or as one object."""
    write_bytes_atomic(path, encode_table(table))


def read_table(
    path: Folder, schema: pa.Schema, *, columns: Sequence[str] | None = None, filters: Filters | None = None
) -> pa.Table:
    """The table at `path` as `schema` has it today; some `columns` of the rows that pass `filters`.

    Columns that an older file lacks have the values that ADDED_COLUMNS states; `filters` are on columns of
    version 1. Raises ValueError when the file is missing, is not Parquet, has a newer schema version, or has
    other columns than its version.
    """
    try:
        content = path.read_bytes()
        stored = decode_schema(content)
        _check_schema(path, stored, schema)
        is_whole = set(columns or schema.names) <= set(stored.names)
        table = decode_table(content, columns=columns if is_whole else None, filters=filters)
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such result table; `portal sweep collect` writes it for a study"
        ) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not a readable Parquet file ({error})") from None
    if is_whole:
        return table.replace_schema_metadata(schema.metadata)
    upgraded = pa.table([_column(table, field) for field in schema], schema=schema)
    return upgraded if columns is None else upgraded.select(columns)


def run_columns(run: RunConfig, label: str) -> dict[str, Any]:
    """The columns of RESULTS that a run's config decides, by name. `label` is the study's name for it.

    `base` joins the names of all its bases, and `size` is null where the run asks for all rows: a row of
    RESULTS has its own base instead, and the number of rows that there were.
    """
    return {
        "run": run.key,
        "method": run.method,
        "label": label,
        "sources": list(run.source_bases) if run.source_bases else None,
        "base": "+".join(ref.name for ref in run.bases),
        "modules": ",".join(run.adapter.modules) if run.adapter else None,
        "rank": run.adapter.rank if run.adapter else None,
        "size": run.data.size if run.spec.has_size else None,
        "seed": run.seed,
    }


class AbsentRun(Frozen):
    """A planned run without results: its `run_columns`, and why it has none. Null is what is not known."""

    run: str | None = None
    method: str | None = None
    label: str | None = None
    sources: tuple[str, ...] | None = None
    base: str | None = None
    modules: str | None = None
    rank: int | None = None
    size: int | None = None
    seed: int | None = None
    cause: str | None = None
    log: str | None = None


Fact = str | tuple[str, ...] | dict[str, str]
"""A fact to show: a text, several, or texts by name."""


class StudyInfo(Record):
    """Facts of a study that its tables do not have: STUDY_FILE, written by sweeps and read by analysis.

    `workers` are how many workers step a run together, by run key, where that is not one; each holds
    `device_share` of a GPU, or so many GPUs. `kinds` are by task, of those that have one. `own_tasks` are the
    tasks that the study is about, where its runs have others, too; `source_tasks` are then, by label, those
    that a method's source had, or one LoRA for all. What a file lacks has the default, so that older files
    read; what it has beyond these is refused by name. `task_groups` are the study's own tasks by the names of
    groups in its file; `latents_of` has, by label of a method that carries latents, that of what taught them.
    """

    WHAT = "a study's record"
    REMEDY = "`portal sweep collect` writes it anew"

    facts: dict[str, Fact] = Field(default_factory=dict)
    failed: tuple[AbsentRun, ...] = ()
    missing: tuple[AbsentRun, ...] = ()
    notes: tuple[str, ...] = ()
    workers: dict[str, int] = Field(default_factory=dict)
    device_share: float = Field(default=1.0, gt=0)
    kinds: dict[str, str] = Field(default_factory=dict)
    own_tasks: tuple[str, ...] = ()
    source_tasks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    task_groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    latents_of: dict[str, str] = Field(default_factory=dict)

    @property
    def absent(self) -> tuple[AbsentRun, ...]:
        """All runs without results."""
        return (*self.failed, *self.missing)

    def to_json(self) -> dict[str, Any]:
        """A value that JSON can hold; without what later versions added, where that is empty."""
        later = ("kinds", "own_tasks", "source_tasks", "task_groups", "latents_of")
        return self.model_dump(mode="json", exclude={name for name in later if not getattr(self, name)})


def tasks_by_kind(tasks: Iterable[str], kinds: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The sorted tasks of every kind, kinds sorted, NO_KIND last; empty where no two tasks share a kind."""
    groups: dict[str, list[str]] = {}
    for task in sorted(tasks):
        groups.setdefault(kinds.get(task, NO_KIND), []).append(task)
    if all(len(own) == 1 for kind, own in groups.items() if kind != NO_KIND):
        return {}
    return {kind: tuple(groups[kind]) for kind in sorted(groups, key=lambda kind: (kind == NO_KIND, kind))}


def read_study_info(folder: Folder) -> StudyInfo:
    """The record beside the tables in `folder`; an empty one where nobody wrote any."""
    return StudyInfo.read(folder / STUDY_FILE) or StudyInfo()


def _check_schema(path: Folder, stored: pa.Schema, schema: pa.Schema) -> None:
    """ValueError unless the file has the columns that `schema` had in the version that the file states."""
    found = (stored.metadata or {}).get(_VERSION_KEY, b"none").decode()
    if not found.isdigit():
        raise ValueError(f"{path}: schema version {found}; not a table that portal wrote")
    version = int(found)
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"{path}: schema version {version}, this version reads up to {SCHEMA_VERSION}; "
            "update portal-sweeps"
        )
    expected = pa.schema([field for field in schema if _since(field.name) <= version])
    if not stored.equals(expected):
        unlike = sorted(set(stored.names) ^ set(expected.names))[:3]
        what = ", ".join(unlike) or "their order or types"
        raise ValueError(f"{path}: columns differ from schema version {version} ({what})")


def _since(column: str) -> int:
    return ADDED_COLUMNS[column].since if column in ADDED_COLUMNS else 1


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    """A column of a table that may be older than `field`."""
    if field.name in table.column_names:
        return table[field.name]
    added = ADDED_COLUMNS[field.name]
    if added.copies is not None:
        return table[added.copies]
    return pa.repeat(pa.scalar(added.default, field.type), table.num_rows)


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

RUN_TABLES = {RESULTS_FILE: RESULTS, PREDICTIONS_FILE: PREDICTIONS, GENERATIONS_FILE: GENERATIONS}
"""The schemas of the tables that evaluations leave, by file name."""
_BESIDE = {LATENTS_FILE: LATENTS, LOSSES_FILE: LOSSES, QUESTIONS_FILE: QUESTIONS, RUNS_FILE: RUNS}
SCHEMAS: dict[str, pa.Schema] = {**RUN_TABLES, **_BESIDE}
"""Those of all tables of runs and of studies."""

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
