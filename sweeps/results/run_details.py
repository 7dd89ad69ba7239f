"""`write_run_details`: from an output folder to the tables of its single runs (portal/run_details.py)."""

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from portal.config import RunConfig
from portal.results import read_table, write_table
from portal.run_details import (
    LOSSES,
    LOSSES_FILE,
    QUESTIONS,
    QUESTIONS_FILE,
    RUNS,
    RUNS_FILE,
    RunDetail,
)
from portal.storage.paths import Folder, local_place
from sweeps.store.pack_store import PackStore
from sweeps.store.questions import questions_path
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import RunState, StudyStatus
from sweeps.study.manifest import StudyManifest

MOST_LOG_LINES = 30
_PACK = re.compile(r" pack ([0-9a-f]{16}): \d+ runs$")


def write_run_details(study: StudyManifest, out: Folder, status: StudyStatus, results: Folder) -> None:
    """Write the tables of the study's runs beside its collected tables in `results`.

    Runs of earlier versions have left no losses, and folders of theirs no questions: these tables are then
    without them, or are not there.
    """
    store = RunStore(out)
    logs, states = _Logs(out), status.states
    details = [
        _detail(run, study.labels[run.key], states[run.key], store, status, logs) for run in study.runs
    ]
    write_table(pa.Table.from_pylist([each.row() for each in details], schema=RUNS), results / RUNS_FILE)
    losses = [_losses(run.key, store) for run in study.runs]
    _write_unless_empty(pa.concat_tables([LOSSES.empty_table(), *losses]), results / LOSSES_FILE)
    paths = [questions_path(out, each) for each in dict.fromkeys(run.data.data_hash for run in study.runs)]
    questions = [_of_tasks(read_table(path, QUESTIONS), study) for path in paths if path.is_file()]
    _write_unless_empty(pa.concat_tables([QUESTIONS.empty_table(), *questions]), results / QUESTIONS_FILE)


def _write_unless_empty(table: pa.Table, path: Folder) -> None:
    if table.num_rows:
        write_table(table.combine_chunks(), path)
    else:
        path.unlink(missing_ok=True)


def _of_tasks(questions: pa.Table, study: StudyManifest) -> pa.Table:
    return questions.filter(pc.is_in(questions["task"], value_set=pa.array(study.tasks, pa.string())))


def _losses(key: str, store: RunStore) -> pa.Table:
    """What the run's folder has of them; a failed run leaves them, too."""
    path = store.run_folder(key) / LOSSES_FILE
    if not path.is_file():
        return LOSSES.empty_table()
    if LOSSES_FILE in (store.digests(key) or {}):
        store.verify(key, (LOSSES_FILE,))
    return read_table(path, LOSSES)


def _detail(
    run: RunConfig, label: str, state: RunState, store: RunStore, status: StudyStatus, logs: "_Logs"
) -> RunDetail:
    known, why, own = store.circumstances(run.key), status.why_absent(run), status.failed.get(run.key)
    return RunDetail(
        run=run.key,
        label=label,
        name=run.describe(),
        state="missing" if state == "running" else state,  # tables are of what has ended
        cause=None if why is None else why.cause,
        settings=run.model_dump(mode="json"),
        device=known.device,
        threads=known.threads,
        operations=known.operations,
        peak_bytes=known.peak_bytes,
        log=logs.tail(run.key, known.log if own is None else own.log),
    )


class _Logs:
    """The log files of lanes that lie on this machine."""

    def __init__(self, out: Folder) -> None:
        self._folder = local_place(out) / "logs"
        self._packs: dict[str, set[str]] = {}  # by run: every pack that it was ever in
        for pack, members in PackStore(out).recorded_packs().items():
            for key in members:
                self._packs.setdefault(key, set()).add(pack)
        self._records: dict[str, list[tuple[str, tuple[str, ...]]]] = {}

    def tail(self, key: str, name: str | None) -> tuple[str, ...]:
        """The last lines on the run's pack in the log of this name; none where it lies elsewhere."""
        if name is None:
            return ()
        name = Path(name).name  # a record cannot lead out of the folder
        if name not in self._records:
            self._records[name] = list(_by_pack(self._folder / name))
        found: tuple[str, ...] = ()
        for pack, lines in self._records[name]:
            if pack in self._packs.get(key, ()):
                found = lines
        return found[-MOST_LOG_LINES:]


def _by_pack(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The lines of a log from the start of each pack until the next one's, in their order."""
    if not path.is_file():
        return
    pack, lines = "", list[str]()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if (found := _PACK.search(line)) is not None:
            yield pack, tuple(lines)
            pack, lines = found[1], []
        lines.append(line)
    yield pack, tuple(lines)
