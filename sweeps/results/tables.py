"""From run folders to a study's tables of results and predictions."""

import json
from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from portal.config import RunConfig
from portal.results import (
    GENERATIONS,
    GENERATIONS_FILE,
    LATENTS,
    LATENTS_FILE,
    PREDICTIONS,
    PREDICTIONS_FILE,
    RESULTS,
    RESULTS_FILE,
    read_table,
    write_table,
)
from portal.storage.paths import Folder, files_below
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import StudyStatus
from sweeps.study.manifest import StudyManifest

RESULTS_FOLDER = "results"
COLLECTED_FILE = "collected.json"
"""Beside the tables, written last: which runs they hold and which had failed."""
_RESULT_ORDER = ("method", "base", "size", "seed", "run", "task", "epoch", "split")
_PREDICTION_ORDER = ("run", "task", "epoch", "split", "example")
_GENERATION_ORDER = (*_PREDICTION_ORDER, "base")
_LATENT_ORDER = ("run", "task")


def tables_folder(out: Folder, study: str) -> Folder:
    """Where the study's tables lie: in `results`, which is the first one's, or in a folder named like it."""
    first = collected_study(out)
    return out / RESULTS_FOLDER if first in (None, study) else out / RESULTS_FOLDER / study


def collected_study(out: Folder) -> str | None:
    """The name of the study that was collected first: its tables lie in `results` itself."""
    name = read_stamp(out / RESULTS_FOLDER).get("study")
    return name if isinstance(name, str) else None


def read_stamp(folder: Folder) -> dict[str, Any]:
    """The stamp of the tables' last collection; empty where none can be read: they are made anew."""
    try:
        stamp = json.loads((folder / COLLECTED_FILE).read_bytes())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def table_files(folder: Folder) -> dict[str, Folder]:
    """The tables and records of one study by name, without the folders of other studies beside them."""
    return {name: path for name, path in files_below(folder).items() if "/" not in name}


def collect(study: StudyManifest, out: Folder, done: Collection[str] | None = None) -> Folder:
    """The folder with the study's tables, freshly written from its finished runs.

    Those are the runs with keys in `done`; by default, all that are done now. Rows are sorted, so that the
    same runs give the same tables in whatever order they were trained.
    """
    store = RunStore(out)
    keys = StudyStatus.read(store, study.runs).done if done is None else done
    finished = [run for run in study.runs if run.key in keys]
    if not finished:
        raise ValueError(
            f"{out}: no finished run of study {study.name!r} here; `portal sweep run` makes them"
        )
    for run in finished:
        store.verify(run.key, (RESULTS_FILE, PREDICTIONS_FILE))
    results = _gather(store, finished, RESULTS_FILE, RESULTS)
    results = _filled(results, "study", [study.name] * results.num_rows)
    of_rows = results["run"].to_pylist()
    results = _filled(results, "label", [study.labels[key] for key in of_rows])
    best = {run.key: _keeps_best(run, study) for run in finished}
    results = _filled(results, "keeps_best", [best[key] for key in of_rows])
    predictions = _gather(store, finished, PREDICTIONS_FILE, PREDICTIONS)
    folder = tables_folder(out, study.name)
    write_table(_sorted(results, _RESULT_ORDER).cast(RESULTS), folder / RESULTS_FILE)
    write_table(_sorted(predictions, _PREDICTION_ORDER), folder / PREDICTIONS_FILE)
    _write_where_left(store, finished, folder / LATENTS_FILE, LATENTS, _LATENT_ORDER)
    _write_where_left(store, finished, folder / GENERATIONS_FILE, GENERATIONS, _GENERATION_ORDER)
    return folder


def _write_where_left(
    store: RunStore, runs: Sequence[RunConfig], path: Folder, schema: pa.Schema, order: tuple[str, ...]
) -> None:
    """The table of the runs that have left one of this name; no file where none has."""
    having = [run for run in runs if path.name in (store.digests(run.key) or {})]
    if not having:
        path.unlink(missing_ok=True)
        return
    for run in having:
        store.verify(run.key, (path.name,))
    write_table(_sorted(_gather(store, having, path.name, schema), order), path)


def _keeps_best(run: RunConfig, study: StudyManifest) -> bool | None:
    """Whether validation rows chose the epoch of the run's artifact, or of the port that it shows."""
    while run.train is None and run.spec.takes_calibrated and run.source in study.by_key:
        run = study.by_key[run.source]
    return None if run.train is None else run.train.keep == "best_validation"


def _gather(store: RunStore, runs: Sequence[RunConfig], name: str, schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([read_table(store.run_folder(run.key) / name, schema) for run in runs])


def _filled(results: pa.Table, column: str, values: Sequence[Any]) -> pa.Table:
    """The table with a column that only the study knows: a run may be in several studies."""
    place, field = results.schema.get_field_index(column), RESULTS.field(column)
    return results.set_column(place, field, pa.array(values, field.type))


def _sorted(table: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    """The rows sorted and in one chunk, so that equal rows make equal files."""
    order = pc.sort_indices(table, sort_keys=[(column, "ascending") for column in columns])
    return table.take(order).combine_chunks()
