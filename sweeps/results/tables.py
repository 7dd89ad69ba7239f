"""From run folders to one result table, and how far a study is."""

from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from portal.config import RunConfig
from portal.results import PREDICTIONS, PREDICTIONS_FILE, RESULTS, RESULTS_FILE, read_table, write_table
from portal.storage.paths import Folder
from sweeps.store.lease import has_live_driver
from sweeps.store.run_store import Store
from sweeps.study.manifest import StudyManifest

_RESULT_ORDER = ("method", "base", "size", "seed", "run", "task", "epoch", "split")
_PREDICTION_ORDER = ("run", "task", "epoch", "split", "example")


def status(study: StudyManifest, out: Folder) -> dict[str, int]:
    """Counts of the study's runs: total, done, running, failed, and missing for the rest."""
    store = Store(out)
    done = {key for key in study.by_key if store.is_done(key)}
    failed = {key for key in study.by_key if store.failure(key) is not None} - done
    running = _running(store) & set(study.by_key) - done - failed
    missing = len(study.runs) - len(done) - len(failed) - len(running)
    return {
        "total": len(study.runs),
        "done": len(done),
        "running": len(running),
        "failed": len(failed),
        "missing": missing,
    }


def collect(study: StudyManifest, out: Folder, done: Collection[str] | None = None) -> Folder:
    """The folder with the study's result and prediction tables, freshly written from its finished runs.

    Those are the runs in `done`, or all that are finished now. Rows are sorted, so that the same runs give
    the same tables however they came about.
    """
    store = Store(out)
    finished = [run for run in study.runs if (store.is_done(run.key) if done is None else run.key in done)]
    if not finished:
        raise ValueError(
            f"{out}: no finished run of study {study.name!r} here; `portal sweep run` makes them"
        )
    for run in finished:
        store.verify(run.key, (RESULTS_FILE, PREDICTIONS_FILE))
    results = _gather(store, finished, RESULTS_FILE, RESULTS)
    results = _filled(results, "study", [study.name] * results.num_rows)
    results = _filled(results, "label", [study.labels[key] for key in results["run"].to_pylist()])
    predictions = _gather(store, finished, PREDICTIONS_FILE, PREDICTIONS)
    folder = out / "results"
    write_table(_sorted(results, _RESULT_ORDER).cast(RESULTS), folder / RESULTS_FILE)
    write_table(_sorted(predictions, _PREDICTION_ORDER), folder / PREDICTIONS_FILE)
    return folder


def _gather(store: Store, runs: list[RunConfig], name: str, schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([read_table(store.run_folder(run.key) / name, schema) for run in runs])


def _filled(results: pa.Table, column: str, values: list[str]) -> pa.Table:
    """What only the study knows of a run, which several studies may share."""
    place = results.schema.get_field_index(column)
    return results.set_column(place, RESULTS.field(column), pa.array(values, pa.string()))


def _sorted(table: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    """Sorted and in one chunk, so that equal rows make equal files."""
    order = pc.sort_indices(table, sort_keys=[(column, "ascending") for column in columns])
    return table.take(order).combine_chunks()


def _running(store: Store) -> set[str]:
    """Runs that a live driver reports as in training."""
    if not has_live_driver(store.out):
        return set()
    progress: list[dict[str, Any]] = store.read_progress()
    return {key for record in progress for key in record.get("runs", {})}
