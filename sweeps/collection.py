"""A study's collected tables with what a report says about it: made when something is new, and only then."""

import json
from typing import Any

from portal.folder import Folder, local_place, only_one, write_json_atomic
from portal.known_bases import weights_note
from sweeps.collect import collect, status
from sweeps.roster import Roster, record_roster
from sweeps.store import Store, check_writable

RESULTS_FOLDER = "results"
INFO_FILE = "study.json"
"""Beside the result tables: what the report says about a study that the tables do not."""
COLLECTED_FILE = "collected.json"
"""Beside them too, written last: which runs they hold."""


def gather(study: Roster, out: Folder) -> Folder:
    """The folder of the freshly collected tables, with what the report needs to know beside them."""
    check_writable(out)
    with only_one(local_place(out) / ".collect.lock"):
        record_roster(out, study)
        results = collect(study, out)
        write_json_atomic(results / INFO_FILE, describe(study, out))
        write_json_atomic(results / COLLECTED_FILE, _done_runs(study, out))
    return results


def is_stale(study: Roster, out: Folder) -> bool:
    """Whether the collected tables are of another study, or of other runs than are done now."""
    return _collected(out) != _done_runs(study, out)


def collected_study(out: Folder) -> str | None:
    """The name of the study that the tables were collected of last."""
    return (_collected(out) or {"study": None})["study"]


def _collected(out: Folder) -> dict[str, Any] | None:
    path = out / RESULTS_FOLDER / COLLECTED_FILE
    return json.loads(path.read_bytes()) if path.is_file() else None


def failed_runs(study: Roster, out: Folder) -> list[dict[str, str]]:
    """Key, name, cause and log of every run that failed."""
    store = Store(out)
    failed = []
    for run in study.runs:
        failure = None if store.is_done(run.key) else store.failure(run.key)
        if failure is not None:
            failed.append(
                {"run": run.key, "name": run.describe(), "cause": failure["cause"], "log": failure["log"]}
            )
    return failed


def describe(study: Roster, out: Folder) -> dict[str, Any]:
    """What analysis.study_info.StudyInfo reads: facts, runs without results, notes."""
    store = Store(out)
    failed = {failure["run"]: failure for failure in failed_runs(study, out)}
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
            "cause": failed.get(run.key, {}).get("cause"),
            "log": failed.get(run.key, {}).get("log"),
        }
        for run in study.runs
        if not store.is_done(run.key)
    ]
    notes = {name: weights_note(name) for name in study.bases}
    return {
        "facts": {
            "study": study.name,
            "tasks": ", ".join(study.tasks),
            "bases": {ref.name: ref.revision[:12] for run in study.runs for ref in run.bases},
            "seeds": ", ".join(str(seed) for seed in study.seeds),
            "runs": ", ".join(f"{count} {name}" for name, count in status(study, out).items()),
            "data": study.runs[0].data.data_hash[:12],
            **_provenance(study, store),
        },
        "notes": [f"{name}: {note}." for name, note in notes.items() if note is not None],
        "failed": [run for run in absent if run["run"] in failed],
        "missing": [run for run in absent if run["run"] not in failed],
        "device_share": study.device_share,
    }


def _done_runs(study: Roster, out: Folder) -> dict[str, Any]:
    store = Store(out)
    return {"study": study.name, "runs": sorted(run.key for run in study.runs if store.is_done(run.key))}


def _provenance(study: Roster, store: Store) -> dict[str, Any]:
    """Versions of packages and commits of the code that the finished runs were trained with."""
    records = [store.provenance(run.key) for run in study.runs if store.is_done(run.key)]
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
