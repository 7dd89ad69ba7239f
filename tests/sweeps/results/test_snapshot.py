"""Tables of one moment: what finishes while they are collected is collected the next time."""

import shutil
from pathlib import Path

import pytest

from portal.results import RESULTS, read_table
from sweeps.results.snapshot import collect_snapshot, is_stale
from sweeps.results.tables import collect
from sweeps.store.run_store import Store
from sweeps.study.expand import Study


def test_what_finishes_while_tables_are_collected_is_collected_the_next_time(
    finished: Path, tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [run.key for run in tiny_study.runs if run.method == "lora"]
    place = Store(finished).run_folder
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
