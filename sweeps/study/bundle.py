"""What travels with a study file to a cluster: the file, its task files and their rows. No base is read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from portal.bases.registry import known_bases
from portal.data.suites import NAMED_TASKS, SUITES, load_suite
from portal.messages import nearest
from portal.storage.paths import folder_contents
from portal.storage.records import read_yaml
from portal.tasks.task_file import is_task_file, load_task_file
from sweeps.study.study_file import StudyFile, check_names, faults_of, with_variants

STUDY = "study.yaml"
"""The name of the study file in the bundle."""
MAX_BYTES = 50_000_000
"""Bytes of all files together: Ray keeps a job's files in the memory of the head node."""


def bundle_study(path: Path) -> dict[str, bytes]:
    """Files by their names from the folder in which the job starts; the study is `STUDY`.

    What the file names by an absolute path, or by a hub id, is expected on the cluster. ValueError for a
    mistake in the file, for a relative path that would lead nowhere there, and for more than `MAX_BYTES`.
    """
    content = read_yaml(path)
    with faults_of(path):
        settings = StudyFile.model_validate(content)
        check_names(with_variants(settings))
        _check_places(settings)
        files, tasks = _task_files(settings, path.parent)
    if tasks is None:
        files[STUDY] = path.read_bytes()
    else:
        files[STUDY] = _written({**content, "tasks": tasks})
    if (size := sum(map(len, files.values()))) > MAX_BYTES:
        raise ValueError(
            f"{path}: it and its task files are {size / 1e6:.0f} MB, more than the {MAX_BYTES / 1e6:.0f} MB "
            "that travel with a job; name the rows by an absolute path on the cluster's shared storage"
        )
    return files


def _check_places(settings: StudyFile) -> None:
    """ValueError for a suite, a task or a base that nothing on the cluster can be."""
    for what, place in (("suite", settings.suite), ("data", settings.data)):
        if place is not None and place not in SUITES and not place.startswith("/"):
            raise ValueError(_relative(what, place))
    if settings.suite in NAMED_TASKS:
        suite = load_suite(settings.suite)
        suite.choose([task for task in settings.tasks or () if not is_task_file(task)])
    texts = [method.text for method in settings.methods.values()]
    texts += [variant.text for variant in settings.variants.values()]
    for encoder in (text.encoder for text in texts if text is not None):
        if Path(encoder).is_dir() and not encoder.startswith("/"):
            raise ValueError(_relative("encoder", encoder))
    for base in dict.fromkeys((*settings.sources, *settings.targets)):
        if base in known_bases() or base.startswith("/"):
            continue
        if Path(base).is_dir() or base.endswith(".gguf"):
            raise ValueError(_relative("base", base))
        if base.count("/") != 1 or base.startswith("."):
            raise ValueError(f"unknown base {base!r}{nearest(base, known_bases())}")


def _relative(what: str, place: str) -> str:
    return (
        f"{what} {place!r} is a path on this machine; name it by its absolute path on the cluster's shared "
        "storage"
    )


def _task_files(settings: StudyFile, folder: Path) -> tuple[dict[str, bytes], list[str] | None]:
    """The task files with their rows, and the study's tasks by their new names; None where none is a file."""
    files: dict[str, bytes] = {}
    tasks = []
    for number, task in enumerate(settings.tasks or ()):
        place = folder / task if (folder / task).is_file() else Path(task)
        if not is_task_file(task) or (place.is_absolute() and not place.is_file()):
            tasks.append(task)
            continue
        load_task_file(place)  # a mistake in it is found here, not there
        inside = f"tasks/{number}"
        tasks.append(f"{inside}/{place.name}")
        files |= {f"{inside}/{name}": data for name, data in _contents(place)}
    return files, tasks if files else None


def _contents(task_file: Path) -> Iterator[tuple[str, bytes]]:
    """The task file, and the rows that it names by a relative path, beside it."""
    content: dict[str, Any] = {} if task_file.suffix == ".jsonl" else read_yaml(task_file)
    data = content.get("data")
    if data is None or Path(data).is_absolute():
        yield task_file.name, task_file.read_bytes()
        return
    rows = task_file.parent / data
    if rows.is_file():
        yield f"rows{rows.suffix}", rows.read_bytes()
        content["data"] = f"rows{rows.suffix}"
    else:
        yield from ((f"rows/{name}", contents) for name, contents in folder_contents(rows).items())
        content["data"] = "rows"
    yield task_file.name, _written(content)


def _written(content: dict[str, Any]) -> bytes:
    """The content as JSON, which `read_yaml` reads back value for value; PyYAML writes YAML 1.1."""
    return json.dumps(content, ensure_ascii=False, indent=1).encode()
