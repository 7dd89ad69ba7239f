"""What becomes of every planned run is in the tables beside the results: done, failed and missing ones."""

from pathlib import Path

import pyarrow as pa
import pytest

from portal.results import write_table
from portal.run_details import (
    LOSSES,
    LOSSES_FILE,
    QUESTIONS_FILE,
    RunDetail,
    read_questions,
    read_run_details,
)
from sweeps.results.run_details import MOST_LOG_LINES
from sweeps.results.snapshot import collect_snapshot
from sweeps.store.circumstances import Circumstances
from sweeps.store.pack_store import PackStore, pack_key
from sweeps.store.questions import questions_path, record_questions
from sweeps.store.run_store import RunStore
from sweeps.study.manifest import StudyManifest


def details_of(out: Path, manifest: StudyManifest) -> dict[str, RunDetail]:
    return read_run_details(collect_snapshot(manifest, out))


def test_runs_of_an_earlier_version_are_told_without_what_they_did_not_record(
    out: Path, manifest: StudyManifest
) -> None:
    found = details_of(out, manifest)

    assert list(found) == [run.key for run in manifest.runs]
    states = [each.state for each in found.values()]
    assert (states.count("done"), states.count("missing")) == (11, 2)
    for run in manifest.runs:
        detail = found[run.key]
        assert detail.settings == run.model_dump(mode="json")
        assert (detail.label, detail.name) == (manifest.labels[run.key], run.describe())
        assert (detail.peak_bytes, detail.log, detail.losses) == (None, (), ())
    assert not (out / "results" / QUESTIONS_FILE).exists()
    assert not (out / "results" / LOSSES_FILE).exists()


def test_a_failed_run_has_its_cause_its_losses_and_the_log_of_its_pack(
    out: Path, manifest: StudyManifest
) -> None:
    run, store = next(run for run in manifest.runs if run.method == "lora"), RunStore(out)
    (store.run_folder(run.key) / "DONE.json").unlink()
    log = out / "logs" / "lane-0.log"
    store.mark_failed(run.key, "the loss is nan", log)
    losses = [{"run": run.key, "step": 1, "loss": 2.0}, {"run": run.key, "step": 2, "loss": 9.0}]
    write_table(pa.Table.from_pylist(losses, schema=LOSSES), store.run_folder(run.key) / LOSSES_FILE)
    PackStore(out).record_pack(pack := pack_key([run.key]), [run.key])
    log.parent.mkdir(exist_ok=True)
    log.write_text(
        f"12:00 sweeps.worker.lane INFO pack {pack}: 1 runs\nearlier\n"
        f"12:01 sweeps.worker.lane INFO pack {'0' * 16}: 1 runs\nanother's\n"
        f"12:02 sweeps.worker.lane INFO pack {pack}: 1 runs\nstep 2: the loss is nan\n"
    )

    detail = details_of(out, manifest)[run.key]

    assert (detail.state, detail.cause) == ("failed", "the loss is nan")
    assert detail.losses == ((1, 2.0), (2, 9.0))
    assert detail.log == (
        f"12:02 sweeps.worker.lane INFO pack {pack}: 1 runs", "step 2: the loss is nan",
    )  # fmt: skip


def test_a_run_that_is_done_tells_threads_memory_and_the_end_of_its_log(
    out: Path, manifest: StudyManifest
) -> None:
    run, store = next(run for run in manifest.runs if run.method == "lora"), RunStore(out)
    known = Circumstances(2, ("plain",), (), 3_000_000_000, "lane-1.log", "cpu")
    store.note_circumstances(run.key, known)
    PackStore(out).record_pack(pack := pack_key([run.key]), [run.key])
    (out / "logs").mkdir(exist_ok=True)
    lines = [f"x INFO pack {pack}: 1 runs", *(f"line {number}" for number in range(2 * MOST_LOG_LINES))]
    (out / "logs" / "lane-1.log").write_text("\n".join(lines))

    detail = details_of(out, manifest)[run.key]

    assert (detail.threads, detail.operations, detail.peak_bytes) == (2, ("plain",), 3_000_000_000)
    assert detail.log == tuple(lines[-MOST_LOG_LINES:])


def test_the_name_of_a_log_leads_nowhere_else(out: Path, manifest: StudyManifest) -> None:
    run, store = next(run for run in manifest.runs if run.method == "lora"), RunStore(out)
    PackStore(out).record_pack(pack := pack_key([run.key]), [run.key])
    (out.parent / "secret").write_text(f"x INFO pack {pack}: 1 runs\nnot yours\n")
    store.note_circumstances(run.key, Circumstances(2, log="../../secret"))

    assert details_of(out, manifest)[run.key].log == ()


def test_questions_of_the_studys_tasks_are_brought_along(out: Path, manifest: StudyManifest) -> None:
    from portal.data.suites import load_suite

    data = manifest.runs[0].data
    record_questions(load_suite(data.suite), manifest.tasks, out, data_hash=data.data_hash)

    questions = read_questions(collect_snapshot(manifest, out))

    assert questions_path(out, data.data_hash).is_file()
    assert {task for task, _ in questions} == set(manifest.tasks)


def test_losses_that_were_altered_since_are_refused(out: Path, manifest: StudyManifest) -> None:
    run, store = next(run for run in manifest.runs if run.method == "lora"), RunStore(out)
    path = store.run_folder(run.key) / LOSSES_FILE
    write_table(pa.Table.from_pylist([{"run": run.key, "step": 1, "loss": 2.0}], schema=LOSSES), path)
    store.mark_done(run.key)
    write_table(pa.Table.from_pylist([{"run": run.key, "step": 1, "loss": 1.0}], schema=LOSSES), path)

    with pytest.raises(ValueError, match=r"losses\.parquet: altered since the run finished"):
        collect_snapshot(manifest, out)
