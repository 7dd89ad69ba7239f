"""The benchmark of reports: tables of a study that a report reads, and what it measures of them."""

from pathlib import Path

import pytest

from benchmarks.report import PAGE_BYTES, measure, write_results
from benchmarks.table import render
from portal.results import PREDICTIONS, PREDICTIONS_FILE, RESULTS, RESULTS_FILE, read_run_details, read_table
from sweeps.study.expand import Study


def test_the_tables_have_every_run_task_epoch_and_split(tiny_study: Study, tmp_path: Path) -> None:
    test_rows = write_results(tiny_study, tmp_path / "results", most_rows=6)

    results = read_table(tmp_path / "results" / RESULTS_FILE, RESULTS).to_pylist()
    predictions = read_table(tmp_path / "results" / PREDICTIONS_FILE, PREDICTIONS).to_pylist()
    assert {row["run"] for row in results} == {run.key for run in tiny_study.runs}
    assert {row["split"] for row in results} == {"validation", "test"}
    assert sum(row["split"] == "test" for row in predictions) == test_rows
    assert {*read_run_details(tmp_path / "results")} == {run.key for run in tiny_study.runs}
    one = next(row for row in results if row["split"] == "test")
    own = [
        row
        for row in predictions
        if all(row[name] == one[name] for name in ("run", "task", "epoch", "split"))
    ]
    right = [max(range(4), key=row["scores"].__getitem__) == row["gold"] for row in own]
    assert one["acc_norm"] == pytest.approx(sum(right) / len(right))


@pytest.mark.nightly
def test_a_report_is_measured(tiny_study: Study) -> None:
    point = measure(tiny_study, most_rows=6)

    assert (point.study, point.runs) == (tiny_study.name, len(tiny_study.runs))
    assert 10_000 < point.page_bytes < PAGE_BYTES
    assert point.write_s > 0
    assert point.peak_bytes > 10**7
    assert point.open_s is None or 0 < point.open_s < 60


def test_the_table_says_whether_a_page_is_small_enough() -> None:
    point = {"study": "paper", "runs": 175, "test_rows": 10**6, "write_s": 60.0, "peak_bytes": 2 * 10**9,
             "page_bytes": 6 * 10**6, "open_s": 0.5}  # fmt: skip
    machine = {"processor": "a CPU", "cores": "2", "memory": "24 GiB", "python": "3.11", "torch": "2"}

    table = render([{"name": "report", "machine": machine, "date": "2026-11-30", "points": [point]}])

    assert "| paper | 175 | 1,000,000 | 60 s | 2.0 GB | 6.0 MB (not met) | 500 ms (met) |" in table
