"""A study's collected tables and its record, of one moment: made when something is new, and only then."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from portal.bases.registry import weights_note
from portal.config import RunConfig
from portal.results import (
    SCHEMA_VERSION,
    STUDY_FILE,
    AbsentRun,
    Fact,
    StudyInfo,
    run_columns,
    tasks_by_kind,
)
from portal.run_details import RUNS
from portal.search_record import SEARCH_FILE, SearchRecord, read_search
from portal.storage.atomic import only_one, write_bytes_atomic, write_json_atomic
from portal.storage.paths import Folder, local_place
from portal.train_config import TrainConfig
from sweeps.results.run_details import write_run_details
from sweeps.results.tables import (
    COLLECTED_FILE,
    RESULTS_FOLDER,
    collect,
    read_stamp,
    table_files,
    tables_folder,
)
from sweeps.store.circumstances import Circumstances
from sweeps.store.output_folder import SEARCH_FOLDER, check_writable
from sweeps.store.provenance import describe_code
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import StudyStatus
from sweeps.study.manifest import StudyManifest, record_manifest

_TOLD = ("epochs", "rounds_per_epoch", "batch_size", "lr", "lr_latent")


def collect_snapshot(study: StudyManifest, out: Folder) -> Folder:
    """The folder of the freshly collected tables, with the study's record beside them.

    All of it is of one moment: runs that finish meanwhile are collected the next time.
    """
    check_writable(out)
    with _alone(out):
        return _gather(study, out, StudyStatus.read(RunStore(out), study.runs))


def copy_tables(study: StudyManifest, out: Folder, into: Path, status: StudyStatus | None = None) -> None:
    """Copy the study's tables and record as of `status`, collected now if need be; by default, as of now.

    Nobody else collects meanwhile. Where `out` cannot be written its tables are taken as they are.
    """
    if isinstance(out, Path) and not os.access(out, os.W_OK):
        _copy(tables_folder(out, study.name), into)
        return
    with _alone(out):
        _collect_stale(study, out, status or StudyStatus.read(RunStore(out), study.runs))
        _copy(tables_folder(out, study.name), into)


def keep_part(study: StudyManifest, out: Folder, seeds: Collection[int]) -> Folder:
    """Keep the tables of a study's part, the runs of `seeds`, in a folder of their own, which is returned.

    The study's next launch in `out` puts its own tables in their place. They are collected now if need be.
    """
    part = out / f"{RESULTS_FOLDER}-seed-{'-'.join(map(str, sorted(set(seeds))))}"
    with _alone(out):
        _collect_stale(study, out, StudyStatus.read(RunStore(out), study.runs))
        tables = tables_folder(out, study.name)
        if tables != out / RESULTS_FOLDER:
            part = part / study.name
        contents = table_files(tables)
        for name, path in table_files(part).items():
            if name not in contents:
                path.unlink()
        for name, path in contents.items():
            write_bytes_atomic(part / name, path.read_bytes())
    return part


def is_stale(study: StudyManifest, out: Folder) -> bool:
    """Whether the study's tables are not there, or are of another moment that matters to them."""
    status = StudyStatus.read(RunStore(out), study.runs)
    return read_stamp(tables_folder(out, study.name)) != _stamp(study, status, _search_of(study, out))


def describe(study: StudyManifest, out: Folder, status: StudyStatus) -> StudyInfo:
    """The study's record: facts, runs without results and why, notes on bases, devices that runs hold."""
    store = RunStore(out)
    done = set(status.done)
    absent = [_absent_run(run, study.labels[run.key], status) for run in study.runs if run.key not in done]
    counts = {"total": status.total, "done": len(done), "failed": len(status.failed) - len(status.left_out)}
    if status.left_out:
        counts["paused or stopped"] = len(status.left_out)
    counts["missing"] = status.total - len(done) - len(status.failed)
    ended = status.failed.keys() - set(status.left_out)
    weights = {name: weights_note(name) for name in study.bases}
    notes = [f"{name}: {note}." for name, note in weights.items() if note is not None]
    known = {run.key: store.circumstances(run.key) for run in study.runs if run.key in done}
    notes += [f"{note}." for note in dict.fromkeys(note for each in known.values() for note in each.coverage)]
    return StudyInfo(
        facts={
            "study": study.name,
            "tasks": ", ".join(study.own_tasks or study.tasks),
            **_trained_tasks(study),
            "bases": {ref.name: ref.revision[:12] for run in study.runs for ref in run.bases},
            **_precisions(study),
            "seeds": ", ".join(str(seed) for seed in study.seeds),
            **_settings(study),
            "runs": ", ".join(f"{count} {name}" for name, count in counts.items()),
            "data": study.runs[0].data.data_hash[:12],
            **_provenance(status, store),
            **_circumstances(known.values()),
        },
        notes=tuple(notes),
        failed=tuple(run for run in absent if run.run in ended),
        missing=tuple(run for run in absent if run.run not in ended),
        workers={run.key: study.workers(run) for run in study.runs if study.workers(run) != 1},
        device_share=study.device_share,
        kinds=dict(study.kinds),
        own_tasks=study.own_tasks,
        source_tasks=_source_tasks(study),
        task_groups=dict(study.task_groups),
        latents_of={
            study.labels[run.key]: study.labels[run.latents]
            for run in study.runs
            if run.latents is not None and run.latents in study.labels
        },
    )


def _source_tasks(study: StudyManifest) -> dict[str, tuple[str, ...]]:
    """By label, the tasks that its runs build on, where these are not the study's own."""
    if not study.own_tasks:
        return {}
    found = {study.labels[run.key]: _built_on(run, study) for run in study.runs}
    return {label: tasks for label, tasks in found.items() if tasks}


def _built_on(run: RunConfig, study: StudyManifest) -> tuple[str, ...]:
    """What the source of a run was trained on, or a run without one that has rows of other tasks."""
    while run.source in study.by_key:
        run = study.by_key[run.source]
    known = run.data.tasks if run.spec.runs_on == "sources" else run.data.trained_tasks
    return known if set(known).isdisjoint(study.own_tasks) else ()


def _trained_tasks(study: StudyManifest) -> dict[str, Fact]:
    """What sources were trained on, by label, where that is not the study's own tasks."""
    if not study.own_tasks:
        return {}
    sources = {study.labels[run.key]: run.data.tasks for run in study.runs if run.spec.runs_on == "sources"}
    return {"tasks of sources": {label: _count(tasks, study.kinds) for label, tasks in sources.items()}}


def _count(tasks: tuple[str, ...], kinds: Mapping[str, str]) -> str:
    groups = tasks_by_kind(tasks, kinds)
    return f"{len(tasks)} tasks" + (f" of {len(groups)} kinds" if groups else "")


def _settings(study: StudyManifest) -> dict[str, Fact]:
    """How runs are trained, by their labels; those that are trained alike stand together.

    A label whose runs are trained in several ways has each of them, with the bases and rows of those runs.
    """
    trained = [(run, study.labels[run.key], _training(run, run.train)) for run in study.runs if run.train]
    ways: dict[str, set[str]] = {}
    for _, label, text in trained:
        ways.setdefault(label, set()).add(text)
    sizes: dict[str, dict[str, list[str]]] = {}  # by way and by the name of who is trained so
    for run, label, text in trained:
        several = len(ways[label]) > 1
        name = f"{label} on {'+'.join(ref.name for ref in run.bases)}" if several else label
        own = sizes.setdefault(text, {}).setdefault(name, [])
        size = "all" if run.data.size is None else str(run.data.size)
        if several and size not in own:
            own.append(size)
    told = {
        ", ".join(f"{name} ({'/'.join(own)} rows)" if own else name for name, own in names.items()): text
        for text, names in sizes.items()
    }
    return {"training": told} if told else {}


def _training(run: RunConfig, train: TrainConfig) -> str:
    """What a reader asks first, then all that is not at its default."""
    epochs = f"{train.epochs} epoch{'s' if train.epochs > 1 else ''} over the rows"
    if train.rounds_per_epoch is not None:
        epochs = f"{train.epochs} x {train.rounds_per_epoch} steps"
    parts = [epochs, f"batches of {train.batch_size}"]
    if not run.spec.teaches or train.residual_rank:
        parts.append(f"learning rate {train.lr:g}")
    if run.hypernet is not None and not run.spec.frozen_core:
        parts.append(f"learning rate of latents {train.lr_latent:g}")
    others = train.model_dump(exclude_defaults=True, exclude=set(_TOLD))
    return ", ".join([*parts, *(f"{name} {value}" for name, value in others.items())])


def _precisions(study: StudyManifest) -> dict[str, Fact]:
    """The precision of each base, where one has another than the default."""
    found = {ref.name: ref.precision for run in study.runs for ref in run.bases}
    return {} if set(found.values()) == {"default"} else {"precision": {**found}}


def _alone(out: Folder) -> AbstractContextManager[None]:
    return only_one(local_place(out) / ".collect.lock")


def _copy(results: Folder, into: Path) -> None:
    files = table_files(results)
    if not files:
        raise ValueError(f"{results}: no tables yet; `portal sweep collect` writes them")
    for name, path in files.items():
        (into / name).write_bytes(path.read_bytes())


def _collect_stale(study: StudyManifest, out: Folder, status: StudyStatus) -> None:
    if read_stamp(tables_folder(out, study.name)) != _stamp(study, status, _search_of(study, out)):
        _gather(study, out, status)


def _gather(study: StudyManifest, out: Folder, status: StudyStatus) -> Folder:
    results = collect(study, out, set(status.done))  # refuses a folder without a finished run
    record_manifest(out, study)
    write_run_details(study, out, status, results)
    write_json_atomic(results / STUDY_FILE, describe(study, out, status).to_json())
    if (searched := _search_of(study, out)) is None:
        (results / SEARCH_FILE).unlink(missing_ok=True)
    else:
        write_json_atomic(results / SEARCH_FILE, searched.model_dump(mode="json"))
    write_json_atomic(results / COLLECTED_FILE, _stamp(study, status, searched))
    return results


def _search_of(study: StudyManifest, out: Folder) -> SearchRecord | None:
    """The search in the folder, where the study is its trials or what it found best."""
    searched = read_search(out / SEARCH_FOLDER)
    is_its = searched is not None and study.name in (searched.name, f"{searched.name}-best")
    return searched if is_its else None


def _stamp(study: StudyManifest, status: StudyStatus, searched: SearchRecord | None) -> dict[str, Any]:
    """All that tables and record depend on: the study's manifest, which runs are done or failed, a search.

    Tables of an earlier version are made anew: they lack columns.
    """
    manifest = json.dumps(study.record(), sort_keys=True).encode()
    search = (
        {}
        if searched is None
        else {"search": hashlib.sha256(searched.model_dump_json().encode()).hexdigest()}
    )
    return search | {
        "schema": SCHEMA_VERSION,
        "details": RUNS.names,  # of the table of single runs
        "study": study.name,
        "manifest": hashlib.sha256(manifest).hexdigest(),
        "done": sorted(status.done),
        "failed": {key: {"cause": why.cause, "log": why.log} for key, why in status.failed.items()},
    }


def _absent_run(run: RunConfig, label: str, status: StudyStatus) -> AbsentRun:
    """The run with its own failure's cause and log, or with the reason why it was never tried."""
    own, why = status.failed.get(run.key), status.why_absent(run)
    return AbsentRun(
        **run_columns(run, label),
        cause=None if why is None else why.cause,
        log=None if own is None else own.log,
    )


def _provenance(status: StudyStatus, store: RunStore) -> dict[str, Fact]:
    """Versions of packages and commits of the code that the finished runs were trained with."""
    records = [store.provenance(key) for key in sorted(status.done)]
    packages = sorted({package for record in records for package in record["versions"]})
    return {
        "versions": {
            package: ", ".join(sorted({record["versions"].get(package, "unknown") for record in records}))
            for package in packages
        },
        "commit": ", ".join(sorted({describe_code(record["git"]) for record in records})),
    }


def _circumstances(known: Iterable[Circumstances]) -> dict[str, Fact]:
    """CPU threads of the finished runs, and the operations of their bases where these are not plain."""
    circumstances = list(known)
    threads = sorted({each.threads for each in circumstances if each.threads is not None})
    operations = sorted({name for each in circumstances for name in each.operations})
    facts: dict[str, Fact] = {}
    if threads:
        facts["CPU threads"] = ", ".join(map(str, threads))
    if operations not in ([], ["plain"]):
        facts["operations of bases"] = ", ".join(operations)
    return facts
