"""A study's collected tables with what a report says about it: made when something is new, and only then."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from portal.bases.registry import weights_note
from portal.config import RunConfig
from portal.storage.atomic import only_one, write_json_atomic
from portal.storage.paths import Folder, files_below, local_place
from sweeps.results.tables import collect
from sweeps.store.run_store import Store, check_writable
from sweeps.study.manifest import StudyManifest, record_manifest

RESULTS_FOLDER = "results"
INFO_FILE = "study.json"
"""Beside the result tables: what the report says about a study that the tables do not."""
COLLECTED_FILE = "collected.json"
"""Beside them too, written last: which runs they hold."""


@dataclass(frozen=True)
class StudyStatus:
    """What a study consists of, which of its runs are done, and why others failed, at one moment."""

    study: str
    roster: str  # hash of what the folder keeps of it
    done: tuple[str, ...]
    failed: Mapping[str, Mapping[str, str]]  # `cause` and `log` by run key


def status_of(study: StudyManifest, out: Folder) -> StudyStatus:
    """How the study stands now."""
    store = Store(out)
    done, failed = [], {}
    for run in study.runs:
        if store.is_done(run.key):
            done.append(run.key)
        elif (failure := store.failure(run.key)) is not None:
            failed[run.key] = {"cause": failure["cause"], "log": failure["log"]}
    digest = hashlib.sha256(json.dumps(study.record(), sort_keys=True).encode()).hexdigest()
    return StudyStatus(study.name, digest, tuple(sorted(done)), failed)


def collect_snapshot(study: StudyManifest, out: Folder) -> Folder:
    """The folder of the freshly collected tables, with what the report needs to know beside them.

    All of it is of one moment: what finishes meanwhile is collected the next time.
    """
    check_writable(out)
    with _alone(out):
        return _gather(study, out, status_of(study, out))


def copy_tables(study: StudyManifest, out: Folder, into: Path) -> None:
    """Copies of the tables of the study as it stands, collected now if anything is new.

    Nobody collects meanwhile. Where `out` cannot be written its tables are taken as they are.
    """
    if isinstance(out, Path) and not os.access(out, os.W_OK):
        _copy(out / RESULTS_FOLDER, into)
        return
    with _alone(out):
        standing = status_of(study, out)
        if _collected(out) != _as_json(standing):
            _gather(study, out, standing)
        _copy(out / RESULTS_FOLDER, into)


def _alone(out: Folder) -> AbstractContextManager[None]:
    return only_one(local_place(out) / ".collect.lock")


def _copy(results: Folder, into: Path) -> None:
    files = files_below(results)
    if not files:
        raise ValueError(f"{results}: no tables yet; `portal sweep collect` writes them")
    for name, path in files.items():
        (into / name).write_bytes(path.read_bytes())


def _gather(study: StudyManifest, out: Folder, standing: StudyStatus) -> Folder:
    record_manifest(out, study)
    results = collect(study, out, set(standing.done))
    write_json_atomic(results / INFO_FILE, describe(study, out, standing))
    write_json_atomic(results / COLLECTED_FILE, _as_json(standing))
    return results


def is_stale(study: StudyManifest, out: Folder) -> bool:
    """Whether the collected tables are of another study, or of another standing than it has now."""
    return _collected(out) != _as_json(status_of(study, out))


def collected_study(out: Folder) -> str | None:
    """The name of the study that the tables were collected of last."""
    return (_collected(out) or {"study": None})["study"]


def _as_json(standing: StudyStatus) -> dict[str, Any]:
    return {**asdict(standing), "done": list(standing.done)}


def _collected(out: Folder) -> dict[str, Any] | None:
    path = out / RESULTS_FOLDER / COLLECTED_FILE
    return json.loads(path.read_bytes()) if path.is_file() else None


def failed_runs(study: StudyManifest, out: Folder) -> list[dict[str, str]]:
    """Key, name, cause and log of every run that failed."""
    failed = status_of(study, out).failed
    return [
        {"run": run.key, "name": run.describe(), **failed[run.key]} for run in study.runs if run.key in failed
    ]


def describe(study: StudyManifest, out: Folder, standing: StudyStatus) -> dict[str, Any]:
    """What analysis.study_info.StudyInfo reads: facts, runs without results, notes, devices a run holds."""
    store = Store(out)
    done = set(standing.done)
    absent = [
        {
            "run": run.key,
            "method": run.method,
            "label": study.labels[run.key],
            "sources": list(run.source_bases) if run.source_bases else None,
            "base": "+".join(ref.name for ref in run.bases),
            "modules": ",".join(run.adapter.modules) if run.adapter else None,
            "rank": run.adapter.rank if run.adapter else None,
            "size": run.data.size if run.train else None,
            "seed": run.seed,
            **standing.failed.get(run.key, {"cause": _waits_for(run, standing), "log": None}),
        }
        for run in study.runs
        if run.key not in done
    ]
    counts = {"total": len(study.runs), "done": len(standing.done), "failed": len(standing.failed)}
    counts["missing"] = counts["total"] - counts["done"] - counts["failed"]
    notes = {name: weights_note(name) for name in study.bases}
    return {
        "facts": {
            "study": study.name,
            "tasks": ", ".join(study.tasks),
            "bases": {ref.name: ref.revision[:12] for run in study.runs for ref in run.bases},
            "seeds": ", ".join(str(seed) for seed in study.seeds),
            "runs": ", ".join(f"{count} {name}" for name, count in counts.items()),
            "data": study.runs[0].data.data_hash[:12],
            **_provenance(standing, store),
        },
        "notes": [f"{name}: {note}." for name, note in notes.items() if note is not None],
        "failed": [run for run in absent if run["run"] in standing.failed],
        "missing": [run for run in absent if run["run"] not in standing.failed],
        "workers": {run.key: study.workers(run) for run in study.runs if study.workers(run) != 1},
        "device_share": study.device_share,
    }


def _waits_for(run: RunConfig, standing: StudyStatus) -> str | None:
    """Why a run that was never tried has no result."""
    return f"its source run {run.source} failed" if run.source in standing.failed else None


def _provenance(standing: StudyStatus, store: Store) -> dict[str, Any]:
    """Versions of packages and commits of the code that the finished runs were trained with."""
    records = [store.provenance(key) for key in standing.done]
    packages = sorted({package for record in records for package in record["versions"]})
    return {
        "versions": {
            package: ", ".join(sorted({record["versions"].get(package, "unknown") for record in records}))
            for package in packages
        },
        "commit": ", ".join(sorted({_commit(record["git"]) for record in records})),
    }


def _commit(state: dict[str, Any] | None) -> str:
    """The commit of the code for people; an installed package has none."""
    if state is None:
        return "an installed package"
    return state["commit"][:12] + (" with changes" if state["modified"] else "")
