"""`portal sweep run`: finished runs are kept, new ones collected, failures listed with their causes."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from portal.cli import main
from sweeps.launch.local_run import run_local
from sweeps.store.run_store import RunStore
from sweeps.study.expand import load_study
from sweeps.study.manifest import record_manifest
from sweeps.worker.lane_log import log_path
from tests.support.command_line import only_line, write_study


def test_a_finished_study_is_not_run_again_and_ends_in_tables_and_a_report(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    loaded = load_study(study)
    runs = loaded.runs
    for method in ("base", "lora"):
        run_local([run for run in runs if run.method == method], loaded.suite, out, Console(quiet=True))

    assert main(["sweep", "run", study, "--out", str(out), "--json"]) == 0
    ended = json.loads(capsys.readouterr().out)
    assert main(["report", str(out)]) == 0

    assert (ended["total"], ended["done"], ended["trained"]) == (3, 3, 0)
    assert pq.read_table(out / "results" / "results.parquet").num_rows > 0
    assert (out / "results" / "predictions.parquet").is_file()
    page = out / "report" / "index.html"
    assert str(page) in capsys.readouterr().out
    assert "PorTAL: small" in page.read_text()
    assert (out / "report" / "tables.md").is_file()


def test_parts_by_seed_add_up_to_the_whole_study(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    command = ["sweep", "run", study, "--out", str(out), "--executor", "local", "--json"]
    counts, tables = [], []
    for part in (["--seed", "0"], ["--seed", "1"], []):
        assert main([*command, *part]) == 0
        ended = json.loads(capsys.readouterr().out)
        counts.append((ended["total"], ended["trained"]))
        tables.append(set(pq.read_table(out / "results" / "results.parquet")["seed"].to_pylist()))

    assert counts == [(2, 2), (2, 1), (3, 0)]
    assert tables == [{None, 0}, {None, 1}, {None, 0, 1}]
    for seed in (0, 1):
        kept = pq.read_table(out / f"results-seed-{seed}" / "results.parquet")
        assert set(kept["seed"].to_pylist()) == {None, seed}
        assert (out / f"results-seed-{seed}" / "study.json").is_file()
    assert not (out / "results-seed-").exists()
    assert main(["sweep", "fsck", str(out)]) == 0
    (out / "results-seed-1" / "results.parquet").write_bytes(b"no table")
    assert main(["sweep", "fsck", str(out)]) == 3
    assert main([*command, "--seed", "7"]) == 2
    assert "no run of seed 7" in capsys.readouterr().err


def test_tables_of_fewer_runs_than_are_done_are_collected_anew(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    loaded = load_study(study)
    runs = loaded.runs
    run_local([run for run in runs if run.method == "base"], loaded.suite, out, Console(quiet=True))
    assert main(["sweep", "collect", study, "--out", str(out)]) == 0
    run_local([run for run in runs if run.method == "lora"], loaded.suite, out, Console(quiet=True))
    results = out / "results" / "results.parquet"
    before = set(pq.read_table(results)["run"].to_pylist())

    assert main(["sweep", "run", study, "--out", str(out)]) == 0
    after = set(pq.read_table(results)["run"].to_pylist())
    written = results.stat().st_mtime_ns
    assert main(["sweep", "run", study, "--out", str(out)]) == 0

    assert len(before) == 1
    assert after == {run.key for run in runs}
    assert results.stat().st_mtime_ns == written


def test_a_launch_says_that_its_runs_lie_in_the_folder_above(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, shared = write_study(world, tmp_path), tmp_path / "shared"
    loaded = load_study(study)
    record_manifest(shared, loaded.manifest)
    out = shared / loaded.name
    for run in loaded.runs:
        RunStore(out).mark_failed(run.key, "the loss of task 'sums' is nan", log_path(out, 0))

    assert main(["sweep", "run", study, "--out", str(out)]) == 3
    first = capsys.readouterr().err.splitlines()[0]
    assert first == (
        f"portal: runs of study 'small' lie in {shared}, the earlier default; --out {shared} continues them"
    )
    record_manifest(out, loaded.manifest)
    assert main(["sweep", "run", study, "--out", str(out)]) == 3
    assert "the earlier default" not in capsys.readouterr().err


def test_two_studies_in_a_folder_are_each_reported_from_tables_of_their_own(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    other = tmp_path / "other.yaml"
    other.write_text(Path(study).read_text().replace("name: small", "name: other"))
    page = out / "report" / "index.html"
    for path, place in ((study, out / "results"), (str(other), out / "results" / "other")):
        command = ["sweep", "run", path, "--out", str(out), "--executor", "local", "--json"]
        assert main(command) == 0
        assert (place / "results.parquet").is_file()
        assert main(["sweep", "collect", path, "--out", str(out), "--json"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["results"] == str(
            place / "results.parquet"
        )
        assert main(["sweep", "status", path, "--out", str(out)]) == 0

    for named, shown in (([], "small"), (["--study", "other"], "other"), (["--study", "small"], "small")):
        assert main(["report", str(out), *named]) == 0
        assert f"PorTAL: {shown}" in page.read_text()
    assert main(["sweep", "fsck", str(out)]) == 0


def test_runs_that_failed_are_listed_with_cause_and_log(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    store = RunStore(out)
    for run in load_study(study).runs:
        store.mark_failed(run.key, "the loss of task 'sums' is nan", log_path(store.out, 0))

    code = main(["sweep", "run", study, "--out", str(out)])

    assert code == 3
    printed = capsys.readouterr().err
    assert "3 of 3 runs" in printed
    assert printed.count("the loss of task 'sums' is nan") == 3
    assert printed.count("lane-0.log") == 3


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--budget", "5"], "--budget and --price go together"),
        (["--budget", "5", "--price", "2"], "a budget without --alert is told to nobody"),
        (["--alert", "ftp://here"], "ftp:// is neither http:// nor https://"),
    ],
)
def test_alerts_that_cannot_be_sent_are_refused_before_anything_starts(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], fault: str
) -> None:
    study = write_study(world, tmp_path)

    assert main(["sweep", "run", study, "--out", str(tmp_path / "out"), *options]) == 2
    assert fault in only_line(capsys)
    assert not (tmp_path / "out").exists()
