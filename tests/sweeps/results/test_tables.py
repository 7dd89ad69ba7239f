"""Run folders of any version become one pair of tables, sorted, under the study's names."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis import ReportInput, write_report
from portal.results import (
    LATENTS,
    LATENTS_FILE,
    PREDICTIONS,
    PREDICTIONS_FILE,
    RESULTS,
    RESULTS_FILE,
    SCHEMA_VERSION,
    read_table,
    write_table,
)
from sweeps.results.tables import collect
from sweeps.store.run_store import RunStore
from sweeps.study.manifest import StudyManifest
from tests.support.result_tables import as_of_version

LORA = "038beb859521b178"
"""A per-task LoRA of the fixture that is done."""


def write_again(out: Path, key: str, version: int) -> None:
    """Put the run's tables in the form of an older schema version, as that version left them."""
    store = RunStore(out)
    for name in (RESULTS_FILE, PREDICTIONS_FILE):
        path = store.run_folder(key) / name
        pq.write_table(as_of_version(pq.read_table(path), version), path)
    store.mark_done(key)


def rows_of(table: pa.Table, key: str) -> pa.Table:
    return table.filter(pc.equal(table["run"], key))


def test_tables_hold_the_finished_runs_sorted_under_the_studys_labels(
    out: Path, manifest: StudyManifest
) -> None:
    labels = {key: f"label of {key}" for key in manifest.by_key}

    results = read_table(collect(replace(manifest, labels=labels), out) / RESULTS_FILE, RESULTS)
    assert len(set(results["run"].to_pylist())) == 11
    assert set(results["study"].to_pylist()) == {"compatibility"}
    assert results["label"].to_pylist() == [labels[key] for key in results["run"].to_pylist()]
    assert results["method"].to_pylist() == sorted(results["method"].to_pylist())


def test_the_order_of_the_runs_changes_no_byte(out: Path, manifest: StudyManifest) -> None:
    first = {path.name: path.read_bytes() for path in collect(manifest, out).iterdir()}
    collect(replace(manifest, runs=manifest.runs[::-1]), out)

    assert {path.name: path.read_bytes() for path in (out / "results").iterdir()} == first


def test_only_the_runs_that_are_asked_for_are_collected(out: Path, manifest: StudyManifest) -> None:
    results = read_table(collect(manifest, out, {LORA}) / RESULTS_FILE, RESULTS)

    assert set(results["run"].to_pylist()) == {LORA}


def test_without_a_finished_run_there_are_no_tables(out: Path, manifest: StudyManifest) -> None:
    with pytest.raises(ValueError, match="no finished run of study 'compatibility' here"):
        collect(manifest, out, set())


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_run_of_an_older_version_is_collected_and_reported_beside_newer_ones(
    out: Path, manifest: StudyManifest, version: int
) -> None:
    new = read_table(collect(manifest, out) / RESULTS_FILE, RESULTS)
    write_again(out, LORA, version)
    marker = (RunStore(out).run_folder(LORA) / "DONE.json").read_bytes()

    folder = collect(manifest, out)
    both = read_table(folder / RESULTS_FILE, RESULTS)
    assert both.num_rows == new.num_rows
    assert both["majority"].null_count > new["majority"].null_count
    own = rows_of(both, LORA)
    assert own["majority"].null_count == own.num_rows
    unchanged = ["run", "label", "method", "task", "epoch", "split", "acc_norm", "log_loss", "wall_s"]
    assert own.select(unchanged).equals(rows_of(new, LORA).select(unchanged))
    assert read_table(folder / PREDICTIONS_FILE, PREDICTIONS).num_rows
    assert (RunStore(out).run_folder(LORA) / "DONE.json").read_bytes() == marker
    page = write_report([ReportInput(folder)], out / "report")
    assert "per-task LoRA" in page.read_text(encoding="utf-8")


def test_latents_are_collected_from_the_runs_that_left_some(out: Path, manifest: StudyManifest) -> None:
    collected = out / "results" / LATENTS_FILE
    collect(manifest, out)
    assert not collected.exists(), "an earlier version left none"

    source = next(run.key for run in manifest.runs if run.method == "source")
    left = pa.Table.from_pylist(
        [{"run": source, "task": task, "latent": [0.5, -1.0]} for task in ("fact_qa", "counting")],
        schema=LATENTS,
    )
    write_table(left, RunStore(out).run_folder(source) / LATENTS_FILE)
    RunStore(out).mark_done(source)
    collect(manifest, out)
    assert read_table(collected, LATENTS).equals(left.sort_by("task"))

    collect(manifest, out, {LORA})
    assert not collected.exists()


def test_a_run_of_a_newer_version_is_refused_by_its_file(out: Path, manifest: StudyManifest) -> None:
    write_again(out, LORA, SCHEMA_VERSION + 1)

    with pytest.raises(
        ValueError,
        match=rf"{LORA}/{RESULTS_FILE}: schema version {SCHEMA_VERSION + 1}, .* update portal-sweeps",
    ):
        collect(manifest, out)


def test_a_table_that_was_edited_is_refused(out: Path, manifest: StudyManifest) -> None:
    path = RunStore(out).run_folder(LORA) / RESULTS_FILE
    pq.write_table(as_of_version(pq.read_table(path), 4), path, compression="none")

    with pytest.raises(ValueError, match="altered since the run finished"):
        collect(manifest, out)
