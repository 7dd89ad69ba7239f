"""`portal report`: of what is finished so far, of two studies, and again and again while a study runs."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from rich.console import Console

from portal.cli import main
from sweeps.launch.local_run import run_local
from sweeps.store.lease import acquire
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study, load_study
from sweeps.study.manifest import record_manifest
from sweeps.worker.lane_log import log_path
from tests.support.command_line import only_line, write_study
from tests.support.studies import COMMAND, PATIENCE_S, counts_of, wait_for


@pytest.fixture
def study(world: Path, tmp_path: Path) -> Study:
    return load_study(write_study(world, tmp_path))


def finish(study: Study, out: Path, *methods: str) -> None:
    """Train the study's runs of these methods, as a launch that was then interrupted."""
    record_manifest(out, study.manifest)
    run_local([run for run in study.runs if run.method in methods], study.suite, out, Console(quiet=True))


def test_a_report_is_of_what_is_finished_without_a_collection_before(study: Study, tmp_path: Path) -> None:
    finish(study, tmp_path / "out", "base")
    assert main(["report", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report" / "index.html").read_text(encoding="utf-8")
    assert "per-task LoRA on tiny-qwen3, size 4, seed 1" in page
    assert "<h3>Not finished</h3>" in page

    finish(study, tmp_path / "out", "lora")
    assert main(["report", str(tmp_path / "out"), "--price", "2.5"]) == 0
    page = (tmp_path / "out" / "report" / "index.html").read_text(encoding="utf-8")
    assert "No failed or missing run" in page
    assert "price at 2.5 a device-hour" in page


def test_a_run_that_failed_since_the_last_report_is_in_the_next_with_its_cause(
    study: Study, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    finish(study, out, "base")
    assert main(["report", str(out)]) == 0
    store = RunStore(out)
    lora = next(run.key for run in study.runs if run.method == "lora")
    store.mark_failed(lora, "the loss of task 'sums' is nan", log_path(store.out, 0))
    assert main(["report", str(out)]) == 0
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "<h3>Failed</h3>" in page
    assert "the loss of task &#x27;sums&#x27; is nan" in page
    assert "3 total, 1 done, 1 failed, 1 missing" in page


def test_figures_and_tables_of_an_earlier_report_do_not_stay(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finish(study, out, "base", "lora")
    assert main(["report", str(out)]) == 0
    report = out / "report"
    (report / "mine.png").write_text("kept")
    (report / "methods-gone.png").write_text("of a base that is gone")
    names = json.loads((report / "files.json").read_text())
    (tmp_path / "out" / "own.csv").write_text("kept")
    (report / "files.json").write_text(json.dumps([*names, "methods-gone.png", "../own.csv"]))
    assert main(["report", str(out)]) == 0
    assert not (report / "methods-gone.png").exists()
    assert (report / "mine.png").exists()
    assert (tmp_path / "out" / "own.csv").exists()
    assert (report / "methods-tiny-qwen3.png").exists()


def test_two_folders_are_put_side_by_side(study: Study, tmp_path: Path) -> None:
    for name in ("first", "second"):
        finish(study, tmp_path / name, "base", "lora")
    report = tmp_path / "report"
    assert main(["report", str(tmp_path / "first"), str(tmp_path / "second"), "--out", str(report)]) == 0
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "small (1) and small (2) side by side" in page
    assert page.count("both studies have the same answers") == 2


@pytest.mark.slow
def test_a_watched_report_follows_the_driver_and_is_final_when_it_ends(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    page = out / "report" / "index.html"
    finish(study, out, "base")
    finish(study, tmp_path / "elsewhere", "lora")
    codes: list[int] = []
    watching = threading.Thread(
        target=lambda: codes.append(main(["report", str(out), "--watch", "--every", "1"])), daemon=True
    )
    with acquire(out):
        watching.start()
        wait_for(page.is_file, "the page")
        assert 'data-refresh-s="1"' in page.read_text(encoding="utf-8")
        (out / "studies" / "small.json").write_text("{}")  # it has been read, and is not read again
        ended = shutil.ignore_patterns("DONE.json")  # the mark of a run that is there as a whole
        shutil.copytree(tmp_path / "elsewhere" / "runs", out / "runs", ignore=ended, dirs_exist_ok=True)
        shutil.copytree(tmp_path / "elsewhere" / "runs", out / "runs", dirs_exist_ok=True)
        wait_for(
            lambda: "No failed or missing run" in page.read_text(encoding="utf-8"), "all runs on the page"
        )
        assert watching.is_alive()
    watching.join(PATIENCE_S)
    assert codes == [0]
    assert "data-refresh-s" not in page.read_text(encoding="utf-8").split("<head>")[0]
    assert capsys.readouterr().out.splitlines()[-1] == f"3 of 3 runs: {page}"


def test_watching_what_nobody_works_on_says_so_and_ends(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(study, tmp_path / "out", "base")
    assert main(["report", str(tmp_path / "out"), "--watch"]) == 0
    assert "no driver works on this study; 2 of its runs have no result" in capsys.readouterr().err


@pytest.mark.slow
def test_of_several_studies_in_a_folder_the_last_collected_is_meant_or_the_named_one(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    finish(study, out, "base")
    path = tmp_path / "other.yaml"
    path.write_text((tmp_path / "study.yaml").read_text().replace("name: small", "name: other"))
    record_manifest(out, load_study(path).manifest)

    assert main(["report", str(out)]) == 2
    assert "holds the studies other, small; choose one by --study" in only_line(capsys)
    for named in (["--study", "other"], []):  # the second time it is the one that was collected last
        assert main(["report", str(out), *named]) == 0
        assert "PorTAL: other" in (out / "report" / "index.html").read_text(encoding="utf-8")
    assert main(["report", str(out), "--watch"]) == 0
    capsys.readouterr()
    assert main(["report", str(out), "--study", "third"]) == 2
    assert "no study 'third' was launched here, but other, small" in only_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "c", "--out", "r"], "of one study or of two, not of 3"),
        (["a", "b", "--out", "r", "--watch"], "are for a report of one folder"),
        (["a", "b"], "name it by --out"),
        (["a", "--price", "-1"], "--price -1 is below 0"),
        (["a", "--watch"], "no study was launched here"),
    ],
)
def test_what_makes_no_report_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    assert message in only_line(capsys)


def test_a_query_prints_mean_scores_and_writes_nothing(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    finish(study, out, "base", "lora")
    capsys.readouterr()

    assert main(["report", str(out), "--query", "method=lora size<=4", "--by", "method,seed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split()[:2] for line in (lines[0], *lines[2:])]
    assert rows == [["method", "seed"], ["lora", "0"], ["lora", "1"]]

    assert main(["report", str(out), "--query", "method=lora", "--by", "method", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["method"] == "lora"
    assert {*row["runs"]} == {run.key for run in study.runs if run.method == "lora"}
    assert not (out / "report").exists()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--query", "method=lorra"], "no score has method 'lorra'; did you mean 'lora'?"),
        (["--query", "size=4", "--by", "sed"], "unknown column 'sed' to gather by; did you mean 'seed'?"),
        (["--query", "size=4", "--watch"], "goes with --study, --by and --json only"),
        (["--json"], "--by and --json are for --query"),
        (["--by", "seed"], "--by and --json are for --query"),
    ],
)
def test_a_mistake_in_a_query_is_one_line(
    study: Study,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    fault: str,
) -> None:
    finish(study, tmp_path / "out", "base", "lora")
    capsys.readouterr()

    assert main(["report", str(tmp_path / "out"), *options]) == 2
    assert fault in only_line(capsys)


@pytest.mark.slow
def test_a_served_report_shows_runs_and_does_what_is_asked(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    finish(study, out, "base")
    command = [sys.executable, "-c", COMMAND, "report", str(out), "--serve", "--every", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        told = server.stdout.readline()
        found = re.fullmatch(r"report: (http://127\.0\.0\.1:\d+/)#token=(\S+) until Ctrl-C\n", told)
        assert found is not None
        address, token = found.groups()
        assert server.stdout.readline() == f"1 of 3 runs: {out / 'report' / 'index.html'}\n"
        lora = next(run.key for run in study.runs if run.method == "lora")

        def read(path: str, **named: Any) -> str:
            with urlopen(Request(address + path, **named), timeout=PATIENCE_S) as response:
                text: str = response.read().decode()
                return text

        assert "All runs" in read("index.html")
        assert f'data-run="{lora}"' in read(f"runs/{lora}.html")
        assert json.loads(read("states.json"))[lora] == "missing"
        asked = read(f"runs/{lora}", data=b"pause", headers={"X-Portal-Token": token})
        assert asked == "Done; no driver works here, so the next launch goes by it."
        assert json.loads(read("states.json"))[lora] == "paused"
        with pytest.raises(HTTPError, match="409"):
            read(f"runs/{lora}", data=b"dance", headers={"X-Portal-Token": token})
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE_S) == 0
    assert counts_of(study, out)["paused"] == 1
