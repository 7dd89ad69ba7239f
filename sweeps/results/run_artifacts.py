"""What finished runs have left in an output folder: portable artifacts, and what each scores on its base."""

import math
from pathlib import Path
from typing import Any

from portal.artifacts.artifact_files import CONFIG, read_config
from portal.artifacts.registry import TaskScore
from portal.bases.registry import public_name
from portal.config import RunConfig
from portal.methods import stage_of_method
from portal.results import RESULTS, RESULTS_FILE, read_table
from portal.storage.records import enclosing_run
from sweeps.store.run_store import RunStore


def run_artifacts(out: Path) -> list[Path]:
    """Folders of the artifacts of all finished runs below `out`, without those of controls.

    Parents come first; of one stage, those of fewer rows per task, then those calibrated on fewer tasks.
    """
    store = RunStore(out)
    runs = [store.read_run(key) for key in store.finished_keys() if store.is_done(key)]
    folders = []
    for run in sorted(filter(_is_portable, runs), key=_order):
        place = out / "runs" / run.key
        folders += [path.parent for path in sorted(place.glob(f"artifact/**/{CONFIG}"))]
    return folders


def artifact_scores(folder: Path) -> dict[str, TaskScore]:
    """By task what an artifact scored on test rows in the run whose folder it lies in; elsewhere nothing."""
    place = enclosing_run(folder)
    if place is None:
        return {}
    out = place.parent.parent
    run = RunStore(out).read_run(place.name)
    base = read_config(folder / CONFIG).base_model_name_or_path
    return {
        row["task"]: TaskScore(**{name: row[name] for name in TaskScore.model_fields})
        for row in final_scores(out, run)
        if public_name(row["base"]) == base
    }


def final_scores(out: Path, run: RunConfig) -> list[dict[str, Any]]:
    """Result rows of a finished run on test rows, one per base and task, at the epoch of its artifact.

    A run without an artifact has one epoch.
    """
    rows = read_table(RunStore(out).run_folder(run.key) / RESULTS_FILE, RESULTS).to_pylist()
    return [row for row in rows if row["split"] == "test" and row["kept"] is not False]


def _is_portable(run: RunConfig) -> bool:
    return run.spec.artifact == "portable" and not run.spec.lends_latents


def _order(run: RunConfig) -> tuple[int, float, int, str]:
    rows = math.inf if run.data.size is None else run.data.size
    return stage_of_method(run.method), rows, len(run.data.trained_tasks), run.key
