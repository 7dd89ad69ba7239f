"""Every run of a study is listed with what it is and how it stands."""

from pathlib import Path

from sweeps.planning.plan import plan_study
from sweeps.planning.run_table import RUN_HEADERS, run_records, run_rows
from sweeps.study.expand import Study


def test_states_and_sizes_of_all_runs_are_listed(tiny_study: Study, finished: Path, tmp_path: Path) -> None:
    done = run_records(plan_study(tiny_study, finished))
    missing = run_records(plan_study(tiny_study, tmp_path / "empty"))

    assert {record["state"] for record in done} == {"done"}
    assert {record["state"] for record in missing} == {"missing"}
    assert [record["run"] for record in done] == [run.key for run in tiny_study.runs]
    found = {(record["label"], record["size"], record["seed"]) for record in done}
    assert found == {
        ("base", None, None),
        *(("lora", size, seed) for size in (8, 4) for seed in (0, 1)),
        *((label, 8, seed) for label in ("source", "portal") for seed in (0, 1)),
    }


def test_a_line_has_a_cell_for_every_header(tiny_study: Study, tmp_path: Path) -> None:
    rows = run_rows(plan_study(tiny_study, tmp_path))

    assert {len(row) for row in rows} == {len(RUN_HEADERS)}
    (base,) = [row for row in rows if row[0] == "base"]
    assert base[1:5] == ("mini-qwen3-s", "-", "-", "missing")
