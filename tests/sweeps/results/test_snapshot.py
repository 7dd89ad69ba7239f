"""A study's tables and record are of one moment, and are made again only when something is new."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from portal.results import (
    RESULTS,
    RESULTS_FILE,
    STUDY_FILE,
    StudyInfo,
    read_study_info,
    read_table,
)
from portal.search_record import read_search
from sweeps.results.snapshot import collect_snapshot, copy_tables, describe, is_stale, keep_part
from sweeps.results.tables import collect, collected_study
from sweeps.store.circumstances import Circumstances
from sweeps.store.fsck import check_folder
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study, load_study
from sweeps.study.manifest import StudyManifest
from tests.support.earlier_version import EARLIER_VERSION
from tests.support.searches import search_record


def status_of(manifest: StudyManifest, out: Path) -> StudyStatus:
    return StudyStatus.read(RunStore(out), manifest.runs)


def num_runs(folder: Path) -> int:
    return len(set(read_table(folder / RESULTS_FILE, RESULTS)["run"].to_pylist()))


def test_the_record_is_the_one_that_earlier_versions_wrote(out: Path, manifest: StudyManifest) -> None:
    written = json.loads((EARLIER_VERSION / "out" / "results" / STUDY_FILE).read_text())

    found = describe(manifest, out, status_of(manifest, out)).to_json()
    del found["facts"]["training"]  # which they did not write

    assert found == written


def test_the_record_says_how_runs_were_trained(out: Path, manifest: StudyManifest) -> None:
    told = describe(manifest, out, status_of(manifest, out)).facts["training"]

    assert isinstance(told, dict)
    assert {label for labels in told for label in labels.split(", ")} == {
        manifest.labels[run.key] for run in manifest.runs if run.train is not None
    }
    for run in manifest.runs:
        if run.train is not None:
            (text,) = [
                text for labels, text in told.items() if manifest.labels[run.key] in labels.split(", ")
            ]
            assert f"learning rate {run.train.lr:g}" in text
            assert text.startswith(
                f"{run.train.epochs} epochs over the rows, batches of {run.train.batch_size},"
            )


def test_what_sweeps_writes_is_what_analysis_reads(out: Path, manifest: StudyManifest) -> None:
    folder = collect_snapshot(manifest, out)

    assert read_study_info(folder) == describe(manifest, out, status_of(manifest, out))


def test_a_folder_without_a_finished_run_stays_as_it_is(manifest: StudyManifest, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished run of study"):
        collect_snapshot(manifest, tmp_path / "empty")

    assert [path.name for path in (tmp_path / "empty").iterdir() if not path.name.startswith(".")] == []


def test_a_failed_run_is_recorded_with_its_log_and_its_ports_with_the_reason(
    out: Path, manifest: StudyManifest
) -> None:
    port = next(run for run in manifest.runs if run.method == "portal")
    assert port.source is not None
    (RunStore(out).run_folder(port.source) / "DONE.json").unlink()
    RunStore(out).mark_failed(port.source, "the loss is nan", out / "logs" / "lane-0.log")

    info = describe(manifest, out, status_of(manifest, out))
    (failed,) = info.failed
    assert (failed.run, failed.cause, failed.log) == (
        port.source, "the loss is nan", str(out / "logs" / "lane-0.log"),
    )  # fmt: skip
    missing = {run.run: run for run in info.missing}
    assert missing[port.key].cause == f"its source run {port.source} failed"
    assert missing[port.key].log is None
    assert info.facts["runs"] == "13 total, 10 done, 1 failed, 2 missing"


def test_the_record_says_how_runs_were_computed_and_what_was_adapted(
    out: Path, manifest: StudyManifest
) -> None:
    store, (first, second, *_) = RunStore(out), status_of(manifest, out).done
    sentence = "base hybrid: q of 4 layers are adapted as q in 2 and in_qkv for q in 2"
    assert not [note for note in describe(manifest, out, status_of(manifest, out)).notes if "layers" in note]
    store.note_circumstances(first, Circumstances(7, ("plain",), (sentence,)))
    assert "operations of bases" not in describe(manifest, out, status_of(manifest, out)).facts
    store.note_circumstances(second, Circumstances(7, ("fused",), (sentence,)))

    info = describe(manifest, out, status_of(manifest, out))

    assert "7" in info.facts["CPU threads"].split(", ")
    assert info.facts["operations of bases"] == "fused, plain"
    assert [note for note in info.notes if "layers" in note] == [f"{sentence}."]


def test_the_kinds_of_tasks_reach_the_record_that_analysis_reads(out: Path, manifest: StudyManifest) -> None:
    kinds = {"fact_qa": "recall", "counting": "recall"}

    folder = collect_snapshot(replace(manifest, kinds=kinds), out)

    assert read_study_info(folder).kinds == kinds


def test_tables_are_stale_until_they_are_collected_and_when_a_run_fails(
    out: Path, manifest: StudyManifest
) -> None:
    collect_snapshot(manifest, out)
    assert not is_stale(manifest, out)

    missing = status_of(manifest, out).missing[0]
    RunStore(out).mark_failed(missing, "the loss is nan", out / "log")
    assert is_stale(manifest, out)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"study": 3}'])
def test_a_stamp_of_another_form_leads_to_a_fresh_collection(
    out: Path, manifest: StudyManifest, tmp_path: Path, content: str | None
) -> None:
    stamp = out / "results" / "collected.json"
    if content is None:
        assert collected_study(out) == "compatibility"  # the form of an earlier version
    else:
        stamp.write_text(content)
        assert collected_study(out) is None
    (out / "results" / RESULTS_FILE).unlink()
    assert is_stale(manifest, out)

    (tmp_path / "copy").mkdir()
    copy_tables(manifest, out, tmp_path / "copy")
    assert num_runs(tmp_path / "copy") == 11
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
    assert (num_runs(first), num_runs(second)) == (11, 4)
    assert collect_snapshot(manifest, out) == first
    assert collected_study(out) == manifest.name
    assert not is_stale(manifest, out)
    assert not is_stale(other, out)
    assert keep_part(other, out, [0]) == out / "results-seed-0" / "other"
    assert keep_part(manifest, out, [0]) == out / "results-seed-0"
    for study, number in ((manifest, 11), (other, 4)):
        copy = tmp_path / study.name
        copy.mkdir()
        copy_tables(study, out, copy)
        assert num_runs(copy) == number
        assert all(path.is_file() for path in copy.iterdir())
    assert num_runs(out / "results-seed-0" / "other") == 4

    (second / RESULTS_FILE).write_bytes(b"no table")
    (out / "results-seed-0" / "other" / RESULTS_FILE).write_bytes(b"no table")
    faults = {fault.path: fault.remedy for fault in check_folder(out)[0]}
    assert "`portal sweep collect`" in faults[second / RESULTS_FILE]
    assert "`portal sweep run STUDY --seed 0`" in faults[out / "results-seed-0" / "other" / RESULTS_FILE]


def test_copies_are_of_the_moment_that_is_asked_for(
    out: Path, manifest: StudyManifest, tmp_path: Path
) -> None:
    now = status_of(manifest, out)
    earlier = StudyStatus(now.done[:3], (), {}, (*now.done[3:], *now.missing))

    for status, number in ((earlier, 3), (None, 11)):
        folder = tmp_path / f"copy-{number}"
        folder.mkdir()
        copy_tables(manifest, out, folder, status)
        assert num_runs(folder) == number


def test_fresh_tables_are_copied_as_they_are(out: Path, manifest: StudyManifest, tmp_path: Path) -> None:
    collect_snapshot(manifest, out)
    before = (out / "results" / RESULTS_FILE).stat().st_mtime_ns

    (tmp_path / "copy").mkdir()
    copy_tables(manifest, out, tmp_path / "copy")
    assert (out / "results" / RESULTS_FILE).stat().st_mtime_ns == before


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
        results = read_table(collect_snapshot(tiny_study.manifest, finished) / "results.parquet", RESULTS)
        assert len(set(results["run"].to_pylist())) == number
    assert not is_stale(tiny_study.manifest, finished)


def test_the_record_names_the_studys_own_tasks_and_counts_those_of_its_sources(
    out: Path, manifest: StudyManifest
) -> None:
    whole = describe(manifest, out, status_of(manifest, out))
    part = describe(replace(manifest, own_tasks=("counting",)), out, status_of(manifest, out))

    assert whole.own_tasks == ()
    assert "tasks of sources" not in whole.facts
    assert (part.own_tasks, part.facts["tasks"]) == (("counting",), "counting")
    assert part.facts["tasks of sources"] == {"source": "2 tasks"}


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
    assert StudyInfo.from_json(info.to_json()) == info


def test_a_search_is_shown_with_its_own_study_and_its_best_and_with_no_other(
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


def test_a_damaged_record_of_a_search_is_named(out: Path, manifest: StudyManifest) -> None:
    place = out / "search" / "search.json"
    place.parent.mkdir()
    for text in ('{"name": 1}', "{", "\ufffe" * 4000):
        place.write_text(text)
        with pytest.raises(
            ValueError, match=r"search\.json: not the record of a search \(.{,200}\); `portal"
        ):
            collect_snapshot(manifest, out)
