"""A study's tables and record are of one moment, and are made again only when something is new.

Run folders of any version become one pair of tables, sorted, under the study's names. What becomes of every
planned run is in the tables beside the results: done, failed and missing ones.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis import ReportInput, write_report
from portal.data.suites import load_suite
from portal.results import (
    LATENTS,
    LATENTS_FILE,
    LOSSES,
    LOSSES_FILE,
    PREDICTIONS,
    PREDICTIONS_FILE,
    RESULTS,
    RESULTS_FILE,
    SCHEMA_VERSION,
    STUDY_FILE,
    RunDetail,
    StudyInfo,
    read_questions,
    read_run_details,
    read_study_info,
    read_table,
    write_table,
)
from portal.search_record import read_search
from sweeps.results.snapshot import (
    MOST_LOG_LINES,
    collect,
    collect_snapshot,
    collected_study,
    copy_tables,
    describe,
    is_stale,
    keep_part,
)
from sweeps.store.fsck import check_folder
from sweeps.store.questions import questions_path, record_questions
from sweeps.store.run_store import Circumstances, PackStore, RunStore, pack_key
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study, load_study
from sweeps.study.manifest import StudyManifest
from tests.support.result_tables import as_of_version
from tests.support.searches import search_record


def status_of(manifest: StudyManifest, out: Path) -> StudyStatus:
    return StudyStatus.read(RunStore(out), manifest.runs)


def num_runs(folder: Path) -> int:
    return len(set(read_table(folder / RESULTS_FILE, RESULTS)["run"].to_pylist()))


def described(manifest: StudyManifest, out: Path) -> StudyInfo:
    return describe(manifest, out, status_of(manifest, out))


@pytest.fixture
def store(out: Path) -> RunStore:
    return RunStore(out)


def copied(manifest: StudyManifest, out: Path, into: Path, status: StudyStatus | None = None) -> Path:
    """The copy of the study's tables."""
    into.mkdir()
    copy_tables(manifest, out, into, status)
    return into


def test_the_record_is_the_one_that_earlier_versions_wrote_and_names_kinds_and_the_studys_own_tasks(
    out: Path, manifest: StudyManifest
) -> None:
    written = json.loads((out / "results" / STUDY_FILE).read_text())
    assert described(manifest, out).to_json() == written
    kinds = {"fact_qa": "recall", "counting": "recall"}
    study = replace(manifest, kinds=kinds, own_tasks=("counting",))

    found = read_study_info(collect_snapshot(study, out))

    assert found == described(study, out)
    assert (found.kinds, found.own_tasks, found.facts["tasks"]) == (kinds, ("counting",), "counting")
    assert found.facts["tasks of sources"] == {"source": "2 tasks of 1 kinds"}
    assert "tasks of sources" not in written["facts"]


def test_the_record_says_how_runs_were_computed_and_what_was_adapted(
    out: Path, manifest: StudyManifest, store: RunStore
) -> None:
    first, second, *_ = status_of(manifest, out).done
    sentence = "base hybrid: q of 4 layers are adapted as q in 2 and in_qkv for q in 2"
    assert not [note for note in described(manifest, out).notes if "layers" in note]
    store.note_circumstances(first, Circumstances(threads=7, operations=("plain",), coverage=(sentence,)))
    assert "operations of bases" not in described(manifest, out).facts
    store.note_circumstances(second, Circumstances(threads=7, operations=("fused",), coverage=(sentence,)))

    info = described(manifest, out)

    assert "7" in info.facts["CPU threads"].split(", ")
    assert info.facts["operations of bases"] == "fused, plain"
    assert [note for note in info.notes if "layers" in note] == [f"{sentence}."]


def test_copies_are_of_the_moment_that_is_asked_for_and_tables_are_stale_when_a_run_fails(
    out: Path, manifest: StudyManifest, store: RunStore, tmp_path: Path
) -> None:
    now = status_of(manifest, out)
    earlier = replace(now, states=dict.fromkeys(now.states, "missing") | dict.fromkeys(now.done[:3], "done"))
    for status, number in ((earlier, 3), (None, 9)):
        assert num_runs(copied(manifest, out, tmp_path / str(number), status)) == number
    assert not is_stale(manifest, out)
    before = (out / "results" / RESULTS_FILE).stat().st_mtime_ns
    copied(manifest, out, tmp_path / "again")
    assert (out / "results" / RESULTS_FILE).stat().st_mtime_ns == before

    store.mark_failed(now.missing[0], "the loss is nan", out / "log")
    assert is_stale(manifest, out)


def test_a_stamp_of_another_form_leads_to_a_fresh_collection(
    out: Path, manifest: StudyManifest, tmp_path: Path
) -> None:
    for number, content in enumerate(('{"study": "compatibility"}', "{", "[]", '{"study": 3}')):
        (out / "results" / "collected.json").write_text(content)
        assert (collected_study(out) == "compatibility") is ("compatibility" in content)
        (out / "results" / RESULTS_FILE).unlink()
        assert is_stale(manifest, out)

        assert num_runs(copied(manifest, out, tmp_path / str(number))) == 9
        assert not is_stale(manifest, out)
        assert collected_study(out) == "compatibility"


def test_a_further_study_in_a_folder_leaves_the_tables_of_the_first_one(
    out: Path, manifest: StudyManifest, tmp_path: Path
) -> None:
    other = replace(manifest, name="other", runs=manifest.runs[:4])
    first = collect_snapshot(manifest, out)
    before = {path.name: path.read_bytes() for path in first.iterdir()}

    second = collect_snapshot(other, out)

    assert (first, second) == (out / "results", out / "results" / "other")
    assert {path.name: path.read_bytes() for path in first.iterdir() if path.is_file()} == before
    assert (num_runs(first), num_runs(second)) == (9, 4)
    assert collect_snapshot(manifest, out) == first
    assert collected_study(out) == manifest.name
    assert not is_stale(manifest, out)
    assert not is_stale(other, out)
    assert keep_part(other, out, [0]) == out / "results-seed-0" / "other"
    assert keep_part(manifest, out, [0]) == out / "results-seed-0"
    for study, number in ((manifest, 9), (other, 4)):
        copy = copied(study, out, tmp_path / study.name)
        assert num_runs(copy) == number
        assert all(path.is_file() for path in copy.iterdir())
    assert num_runs(out / "results-seed-0" / "other") == 4

    (second / RESULTS_FILE).write_bytes(b"no table")
    (out / "results-seed-0" / "other" / RESULTS_FILE).write_bytes(b"no table")
    faults = {fault.path: fault.remedy for fault in check_folder(out)[0]}
    assert "`portal sweep collect`" in faults[second / RESULTS_FILE]
    assert "`portal sweep run STUDY --seed 0`" in faults[out / "results-seed-0" / "other" / RESULTS_FILE]


def test_what_finishes_while_tables_are_collected_is_collected_the_next_time(
    finished: Path, tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [run.key for run in tiny_study.runs if run.method == "lora"]
    place = RunStore(finished).run_folder
    for key in late:
        place(key).rename(tmp_path / key)

    def collect_late(*arguments: object) -> object:
        for key in late:
            shutil.copytree(tmp_path / key, place(key), dirs_exist_ok=True)
        return collect(*arguments)

    monkeypatch.setattr("sweeps.results.snapshot.collect", collect_late)
    for number in (9 - len(late), 9):
        assert is_stale(tiny_study.manifest, finished)
        assert num_runs(collect_snapshot(tiny_study.manifest, finished)) == number
    assert not is_stale(tiny_study.manifest, finished)


def test_the_record_of_a_study_of_new_tasks_has_what_each_methods_source_was_trained_on(
    tmp_path: Path,
) -> None:
    study = load_study("new-tasks").manifest

    info = describe(study, tmp_path, status_of(study, tmp_path))

    for label in ("source", "portal", "taught", "carried", "carried-described", "mean_latent", "shared_lora"):
        for number in (5, 35):
            tasks = info.source_tasks[f"{label}-of{number}"]
            assert len(tasks) == number
            assert tasks == info.source_tasks[f"source-of{number}"]
    assert not {"base", "lora"} & set(info.source_tasks)
    assert list(info.task_groups) == ["new-frames", "new-answers", "new-kinds"]
    assert info.latents_of["carried-of5"] == "taught-of5"
    assert info.latents_of["carried-nearest-of5"] == "nearest_latent-of5"
    assert info.latents_of["mismatched-described-of140"] == "described-of140"
    assert not {"base", "lora", "taught-of5", "mean_latent-of5"} & set(info.latents_of)
    assert StudyInfo.model_validate(info.to_json()) == info


def test_a_search_is_shown_with_its_own_study_and_no_other_and_a_damaged_record_is_named(
    out: Path, manifest: StudyManifest
) -> None:
    place = out / "search" / "search.json"
    place.parent.mkdir()
    for name, is_shown in ((manifest.name, True), ("another", False)):
        place.write_text(search_record().model_copy(update={"name": name}).model_dump_json())
        folder = collect_snapshot(manifest, out)
        assert (read_search(folder) is not None) is is_shown

    assert not is_stale(manifest, out)
    changed = search_record().model_copy(update={"name": manifest.name, "unknown": "why"})
    place.write_text(changed.model_dump_json())
    assert is_stale(manifest, out)
    collect_snapshot(manifest, out)
    place.unlink()
    assert read_search(collect_snapshot(manifest, out)) is None
    for text in ('{"name": 1}', "{", "\ufffe" * 4000):
        place.write_text(text)
        fault = r"search\.json: not the record of a search \(.{,200}\); `portal"
        with pytest.raises(ValueError, match=fault):
            collect_snapshot(manifest, out)


LORA = "93a9e0266de26504"
"""A per-task LoRA of the fixture that is done."""


def write_again(out: Path, key: str, version: int) -> None:
    """Put the run's tables in the form of an older schema version, as that version left them."""
    store = RunStore(out)
    for name in (RESULTS_FILE, PREDICTIONS_FILE):
        path = store.run_folder(key) / name
        pq.write_table(as_of_version(pq.read_table(path), version), path)
    store.mark_done(key)


def test_tables_hold_the_finished_runs_sorted_under_the_studys_labels_whatever_their_order(
    out: Path, manifest: StudyManifest
) -> None:
    study = replace(manifest, labels={key: f"label of {key}" for key in manifest.by_key})

    results = read_table(collect(study, out) / RESULTS_FILE, RESULTS)
    assert len(set(results["run"].to_pylist())) == 9
    assert set(results["study"].to_pylist()) == {"compatibility"}
    assert results["label"].to_pylist() == [study.labels[key] for key in results["run"].to_pylist()]
    assert results["method"].to_pylist() == sorted(results["method"].to_pylist())

    first = {path.name: path.read_bytes() for path in (out / "results").iterdir()}
    collect(replace(study, runs=study.runs[::-1]), out)
    assert {path.name: path.read_bytes() for path in (out / "results").iterdir()} == first


def test_without_finished_runs_there_are_no_tables(
    out: Path, manifest: StudyManifest, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no finished run of study 'compatibility' here"):
        collect(manifest, out, set())
    with pytest.raises(ValueError, match="no finished run of study"):
        collect_snapshot(manifest, tmp_path / "empty")
    assert [path.name for path in (tmp_path / "empty").iterdir() if not path.name.startswith(".")] == []


@pytest.mark.slow
def test_runs_of_older_versions_are_collected_and_reported_beside_newer_ones(
    out: Path, manifest: StudyManifest, store: RunStore
) -> None:
    old = [LORA, *(key for key in status_of(manifest, out).done if key != LORA)][:3]
    new = read_table(collect(manifest, out) / RESULTS_FILE, RESULTS)
    for version, key in enumerate(old, 1):
        write_again(out, key, version)
    markers = [(store.run_folder(key) / "DONE.json").read_bytes() for key in old]

    folder = collect(manifest, out)

    both = read_table(folder / RESULTS_FILE, RESULTS)
    assert both.num_rows == new.num_rows
    unchanged = ["run", "label", "method", "task", "epoch", "split", "acc_norm", "log_loss", "wall_s"]
    assert both.select(unchanged).equals(new.select(unchanged))
    unknown = both.filter(pc.is_in(both["run"], value_set=pa.array(old)))["majority"]
    assert unknown.null_count == len(unknown)
    assert both["majority"].null_count > new["majority"].null_count
    assert read_table(folder / PREDICTIONS_FILE, PREDICTIONS).num_rows
    assert [(store.run_folder(key) / "DONE.json").read_bytes() for key in old] == markers
    page = write_report([ReportInput(folder)], out / "report")
    assert "per-task LoRA" in page.read_text(encoding="utf-8")


def test_only_the_runs_that_are_asked_for_are_collected_and_latents_of_those_that_left_some(
    out: Path, manifest: StudyManifest
) -> None:
    collected = out / "results" / LATENTS_FILE
    source = next(run.key for run in manifest.runs if run.method == "source")
    left = read_table(RunStore(out).run_folder(source) / LATENTS_FILE, LATENTS)

    collect(manifest, out)

    found = read_table(collected, LATENTS)
    assert found.filter(pc.equal(found["run"], source)).equals(left.sort_by("task"))
    with_latents = {run.key for run in manifest.runs if run.method in ("source", "hypernet")}
    assert set(found["run"].to_pylist()) == with_latents

    results = read_table(collect(manifest, out, {LORA}) / RESULTS_FILE, RESULTS)
    assert set(results["run"].to_pylist()) == {LORA}
    assert not collected.exists()


def test_a_run_of_a_newer_version_and_tables_that_were_altered_since_are_refused(
    out: Path, manifest: StudyManifest, store: RunStore
) -> None:
    folder, losses = store.run_folder(LORA), {"run": LORA, "step": 1, "loss": 2.0}
    write_table(pa.Table.from_pylist([losses], schema=LOSSES), folder / LOSSES_FILE)
    store.mark_done(LORA)
    write_table(pa.Table.from_pylist([{**losses, "loss": 1.0}], schema=LOSSES), folder / LOSSES_FILE)
    with pytest.raises(ValueError, match=r"losses\.parquet: altered since the run finished"):
        collect_snapshot(manifest, out)

    path = folder / RESULTS_FILE
    pq.write_table(as_of_version(pq.read_table(path), 4), path, compression="none")
    with pytest.raises(ValueError, match=r"results\.parquet: altered since the run finished"):
        collect(manifest, out)
    write_again(out, LORA, SCHEMA_VERSION + 1)
    newer = rf"{LORA}/{RESULTS_FILE}: schema version {SCHEMA_VERSION + 1}, .* update portal-sweeps"
    with pytest.raises(ValueError, match=newer):
        collect(manifest, out)


def details_of(out: Path, manifest: StudyManifest) -> dict[str, RunDetail]:
    return read_run_details(collect_snapshot(manifest, out))


def test_a_failed_run_has_its_cause_its_losses_and_the_log_of_its_pack_and_its_ports_have_the_reason(
    out: Path, manifest: StudyManifest, store: RunStore
) -> None:
    port, log = next(run for run in manifest.runs if run.method == "portal"), out / "logs" / "lane-0.log"
    key = port.source
    assert key is not None
    (store.run_folder(key) / "DONE.json").unlink()
    store.mark_failed(key, "the loss is nan", log)
    losses = [{"run": key, "step": 1, "loss": 2.0}, {"run": key, "step": 2, "loss": 9.0}]
    write_table(pa.Table.from_pylist(losses, schema=LOSSES), store.run_folder(key) / LOSSES_FILE)
    PackStore(out).record_pack(pack := pack_key([key]), [key])
    log.parent.mkdir(exist_ok=True)
    log.write_text(
        f"12:00 sweeps.worker.lane INFO pack {pack}: 1 runs\nearlier\n"
        f"12:01 sweeps.worker.lane INFO pack {'0' * 16}: 1 runs\nanother's\n"
        f"12:02 sweeps.worker.lane INFO pack {pack}: 1 runs\nstep 2: the loss is nan\n"
    )

    detail, info = details_of(out, manifest)[key], described(manifest, out)

    assert (detail.state, detail.cause) == ("failed", "the loss is nan")
    assert detail.losses == ((1, 2.0), (2, 9.0))
    assert detail.log == (
        f"12:02 sweeps.worker.lane INFO pack {pack}: 1 runs", "step 2: the loss is nan",
    )  # fmt: skip
    (failed,) = info.failed
    assert (failed.run, failed.cause, failed.log) == (key, "the loss is nan", str(log))
    missing = next(run for run in info.missing if run.run == port.key)
    assert (missing.cause, missing.log) == (f"its source run {key} failed", None)
    assert info.facts["runs"] == "13 total, 8 done, 1 failed, 4 missing"


def test_every_run_is_told_with_its_settings_and_a_done_one_with_the_end_of_its_log_which_leads_nowhere_else(
    out: Path, manifest: StudyManifest, store: RunStore
) -> None:
    known = Circumstances(threads=2, operations=("plain",), peak_bytes=3_000_000_000, log="lane-1.log")
    store.note_circumstances(LORA, known)
    PackStore(out).record_pack(pack := pack_key([LORA]), [LORA])
    (out / "logs").mkdir(exist_ok=True)
    lines = [f"x INFO pack {pack}: 1 runs", *(f"line {number}" for number in range(2 * MOST_LOG_LINES))]
    for path in (out / "logs" / "lane-1.log", out.parent / "secret"):
        path.write_text("\n".join(lines))

    found = details_of(out, manifest)

    assert list(found) == [run.key for run in manifest.runs]
    states = [each.state for each in found.values()]
    assert (states.count("done"), states.count("missing")) == (9, 4)
    for run in manifest.runs:
        detail = found[run.key]
        assert detail.settings == run.model_dump(mode="json")
        assert (detail.label, detail.name) == (manifest.labels[run.key], run.describe())
        assert bool(detail.losses) is (detail.state == "done" and run.train is not None)
    detail = found[LORA]
    assert (detail.threads, detail.operations, detail.peak_bytes) == (2, ("plain",), 3_000_000_000)
    assert detail.log == tuple(lines[-MOST_LOG_LINES:])
    store.note_circumstances(LORA, Circumstances(threads=2, log="../../secret"))
    assert details_of(out, manifest)[LORA].log == ()


def test_questions_of_the_studys_tasks_are_brought_along(out: Path, manifest: StudyManifest) -> None:
    data = manifest.runs[0].data
    record_questions(load_suite(data.suite), manifest.tasks, out, data_hash=data.data_hash)

    questions = read_questions(collect_snapshot(manifest, out))

    assert questions_path(out, data.data_hash).is_file()
    assert {task for task, _ in questions} == set(manifest.tasks)
