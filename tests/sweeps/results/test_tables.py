"""Result tables of a study: sorted, labelled, of verified runs, and the same however its runs came about."""

from pathlib import Path

import pytest

from portal.results import PREDICTIONS, RESULTS, read_table
from sweeps.results.tables import collect
from sweeps.store.run_store import Store
from sweeps.study.expand import Study


def test_equal_runs_give_equal_bytes(finished: Path, tiny_study: Study) -> None:
    names = ("results.parquet", "predictions.parquet")
    folder = collect(tiny_study.manifest, finished)
    first = [(folder / name).read_bytes() for name in names]

    backwards = list(tiny_study.by_key)[::-1]
    collect(tiny_study.manifest, finished, backwards)

    assert [(folder / name).read_bytes() for name in names] == first


def test_every_row_has_the_name_of_its_study_and_the_label_of_its_run(
    finished: Path, tiny_study: Study
) -> None:
    rows = read_table(collect(tiny_study.manifest, finished) / "results.parquet", RESULTS).to_pylist()

    assert {row["study"] for row in rows} == {"tiny"}
    assert {(row["run"], row["label"]) for row in rows} == set(tiny_study.labels.items())
    keys = [(row["method"], row["base"], row["run"], row["task"], row["epoch"], row["split"]) for row in rows]
    assert len(set(keys)) == len(keys)


def test_only_the_runs_that_are_asked_for_are_collected(finished: Path, tiny_study: Study) -> None:
    asked = {run.key for run in tiny_study.runs if run.method == "portal"}

    folder = collect(tiny_study.manifest, finished, asked)

    for name, schema in (("results", RESULTS), ("predictions", PREDICTIONS)):
        assert set(read_table(folder / f"{name}.parquet", schema)["run"].to_pylist()) == asked


def test_a_run_that_was_altered_is_refused_by_name(finished: Path, tiny_study: Study) -> None:
    path = Store(finished).run_folder(tiny_study.runs[0].key) / "results.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    with pytest.raises(ValueError, match=f"{path}: altered since the run finished"):
        collect(tiny_study.manifest, finished)


def test_a_study_without_a_finished_run_says_what_makes_one(tiny_study: Study, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="no finished run of study 'tiny' here; `portal sweep run` makes them"
    ):
        collect(tiny_study.manifest, tmp_path)
