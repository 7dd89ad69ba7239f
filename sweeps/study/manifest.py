"""`StudyManifest`: what an output folder remembers of a study: its runs and what the study calls them.

It lets a report be made, and made again while the study runs, without the study file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import Field

from portal.config import RunConfig
from portal.storage.atomic import write_note
from portal.storage.paths import Folder, matching
from portal.storage.records import Record
from sweeps.store.run_store import RunStore
from sweeps.study.study_file import WorkersPerPack

_FOLDER, _LAUNCHED = "studies", "launched"
_KEPT = ("name", "device_share", "workers_per_pack", "kinds", "own_tasks", "task_groups")


@dataclass(frozen=True)
class StudyManifest:
    """The runs of a study, sources before ports, and by content key their `labels` in the study file.

    `device_share` is the share of a GPU that a worker holds, or the number of its GPUs, `workers_per_pack` as
    in the study file. `kinds` are by task, of those that have one. `own_tasks` are the tasks that the study
    is about, where its runs have others, too, and `task_groups` those of them that a group in the study file
    stands for, by its name.
    """

    name: str
    runs: tuple[RunConfig, ...]
    labels: Mapping[str, str]
    device_share: float
    workers_per_pack: WorkersPerPack
    kinds: Mapping[str, str] = field(default_factory=dict)
    own_tasks: tuple[str, ...] = ()
    task_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def workers(self, run: RunConfig) -> int:
        """How many workers step the run together."""
        return len(run.bases) if self.workers_per_pack == "bases" else self.workers_per_pack

    def record(self) -> "StudyRecord":
        """What the folder keeps of it."""
        runs = tuple((run.key, self.labels[run.key]) for run in self.runs)
        return StudyRecord(runs=runs, **{field: getattr(self, field) for field in _KEPT})

    @cached_property
    def by_key(self) -> dict[str, RunConfig]:
        return {run.key: run for run in self.runs}

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks of any run, in order of first use."""
        return tuple(dict.fromkeys(task for run in self.runs for task in run.data.tasks))

    @property
    def bases(self) -> tuple[str, ...]:
        """Names of all bases, in order of first use."""
        return tuple(dict.fromkeys(ref.name for run in self.runs for ref in run.bases))

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds of any run, ascending."""
        return tuple(sorted({run.seed for run in self.runs if run.seed is not None}))


class StudyRecord(Record):
    """A study as its folder keeps it: its runs by key and label; their configs lie in their own folders."""

    WHAT, REMEDY = "a study's record", "launch the study again to write it anew"

    name: str
    device_share: float
    workers_per_pack: WorkersPerPack
    runs: tuple[tuple[str, str], ...]
    kinds: dict[str, str] = Field(default_factory=dict)
    own_tasks: tuple[str, ...] = ()
    task_groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Without what most studies do not have."""
        return self.model_dump(mode="json", exclude_defaults=True)


def record_manifest(out: Folder, manifest: StudyManifest) -> None:
    """Remember the study and its runs in `out`; a study of the same name is replaced."""
    store = RunStore(out)
    for run in manifest.runs:
        store.write_run(run)
    path = out / _FOLDER / f"{manifest.name}.json"
    try:
        known = StudyRecord.read(path)
    except ValueError:  # the remedy that it names is a launch
        known = None
    if known != manifest.record():
        manifest.record().write(path)


def note_launch(out: Folder, manifest: StudyManifest) -> None:
    """Remember which study the folder's driver works on."""
    write_note(out / _FOLDER / _LAUNCHED, manifest.name)


def launched_study(out: Folder) -> str | None:
    """The name of the study that was launched last."""
    path = out / _FOLDER / _LAUNCHED
    return path.read_bytes().decode() if path.is_file() else None


def launched_studies(out: Folder) -> list[str]:
    """Names of the studies that were launched in `out`."""
    return [path.stem for path in matching(out / _FOLDER, "*.json")]


def read_manifest(out: Folder, name: str | None = None) -> StudyManifest:
    """The study of that name in `out`, or the only one.

    Raises ValueError when there is none, or several and no name to choose by.
    """
    names = launched_studies(out)
    if not names:
        raise ValueError(f"{out}: no study was launched here; `portal sweep run STUDY --out {out}` does")
    if name is None and len(names) > 1:
        raise ValueError(f"{out}: holds the studies {', '.join(names)}; choose one by --study")
    chosen = name or names[0]
    path = out / _FOLDER / f"{chosen}.json"
    record = StudyRecord.read(path)
    if chosen not in names or record is None:
        raise ValueError(f"{out}: no study {chosen!r} was launched here, but {', '.join(names)}")
    store, labels = RunStore(out), dict(record.runs)
    runs = tuple(store.read_run(key) for key in labels)
    kept = {field: getattr(record, field) for field in _KEPT}
    return StudyManifest(runs=runs, labels=labels, **kept | {"name": chosen})
