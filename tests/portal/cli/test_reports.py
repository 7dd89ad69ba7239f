"""`portal report`: of what is finished so far, of two studies, and again and again while a study runs."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.request import urlopen

import pytest
from rich.console import Console

from portal.cli import main
from portal.cli.reports import ReportServer
from sweeps.launch.single_run import run_local
from sweeps.store.lease import acquire
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study, load_study
from sweeps.study.manifest import record_manifest
from sweeps.worker.job import log_path
from tests.support.command_line import Portal, write_study
from tests.support.studies import COMMAND, PATIENCE_S, wait_for

PAGE = Path("out/report/index.html")


@pytest.fixture
def study(world: Path, tmp_path: Path, portal: Portal) -> Study:
    return load_study(write_study(world, tmp_path))


def finish(study: Study, *methods: str, out: str = "out") -> None:
    """Train the study's runs of these methods, as a launch that was then interrupted."""
    record_manifest(Path(out), study.manifest)
    runs = [run for run in study.runs if run.method in methods]
    run_local(runs, study.suite, Path(out), Console(quiet=True))


def test_a_report_is_of_what_is_finished_and_names_what_failed_since_without_a_collection_before(
    study: Study, portal: Portal
) -> None:
    finish(study, "base")
    portal("report out")
    page = PAGE.read_text(encoding="utf-8")
    assert "per-task LoRA on tiny-qwen3, size 4, seed 1" in page
    assert "<h3>Not finished</h3>" in page

    lora = next(run.key for run in study.runs if run.method == "lora")
    store = RunStore(Path("out"))
    store.mark_failed(lora, "the loss of task 'sums' is nan", log_path(store.out, 0))
    portal("report out")
    page = PAGE.read_text(encoding="utf-8")
    assert "<h3>Failed</h3>" in page
    assert "the loss of task &#x27;sums&#x27; is nan" in page
    assert "3 total, 1 done, 1 failed, 1 missing" in page


def test_figures_and_tables_of_an_earlier_report_do_not_stay(study: Study, portal: Portal) -> None:
    finish(study, "base", "lora")
    portal("report out --price 2.5")
    page = PAGE.read_text(encoding="utf-8")
    assert "No failed or missing run" in page
    assert "price at 2.5 a device-hour" in page

    report = PAGE.parent
    (report / "mine.png").write_text("kept")
    (report / "methods-gone.png").write_text("of a base that is gone")
    Path("out/own.csv").write_text("kept")
    names = json.loads((report / "files.json").read_text())
    (report / "files.json").write_text(json.dumps([*names, "methods-gone.png", "../own.csv"]))
    portal("report out")
    assert not (report / "methods-gone.png").exists()
    assert (report / "mine.png").exists()
    assert Path("out/own.csv").exists()
    assert (report / "methods-tiny-qwen3.png").exists()


def test_two_folders_are_put_side_by_side(study: Study, portal: Portal) -> None:
    finish(study, "base", "lora", out="first")
    shutil.copytree("first", "second")
    portal("report first second --out report")
    page = Path("report/index.html").read_text(encoding="utf-8")
    assert "small (1) and small (2) side by side" in page
    assert page.count("both studies have the same answers") == 2


@pytest.mark.slow
def test_a_watched_report_follows_the_driver_and_is_final_when_it_ends(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(study, "base")
    finish(study, "lora", out="elsewhere")
    codes: list[int] = []
    watching = threading.Thread(
        target=lambda: codes.append(main(["report", "out", "--watch", "--every", "1"])), daemon=True
    )
    with acquire(Path("out")):
        watching.start()
        wait_for(PAGE.is_file, "the page")
        assert 'data-refresh-s="1"' in PAGE.read_text(encoding="utf-8")
        Path("out/studies/small.json").write_text("{}")  # it has been read, and is not read again
        ended = shutil.ignore_patterns("DONE.json")  # the mark of a run that is there as a whole
        shutil.copytree("elsewhere/runs", "out/runs", ignore=ended, dirs_exist_ok=True)
        for mark in Path("elsewhere").rglob("DONE.json"):
            Path("mark").write_bytes(mark.read_bytes())
            Path("mark").replace(Path("out", mark.relative_to("elsewhere")))  # whole at once, as a worker's
        wait_for(
            lambda: "No failed or missing run" in PAGE.read_text(encoding="utf-8") or codes, "all runs there"
        )
        assert codes == []
    watching.join(PATIENCE_S)
    assert codes == [0]
    assert "data-refresh-s" not in PAGE.read_text(encoding="utf-8").split("<head>")[0]
    assert capsys.readouterr().out.splitlines()[-1] == f"3 of 3 runs: {PAGE}"


@pytest.mark.slow
def test_of_several_studies_in_a_folder_the_last_collected_is_meant_or_the_named_one(
    study: Study, portal: Portal
) -> None:
    finish(study, "base")
    Path("other.yaml").write_text(Path("study.yaml").read_text().replace("name: small", "name: other"))
    record_manifest(Path("out"), load_study("other.yaml").manifest)

    assert "holds the studies other, small; choose one by --study" in portal.refusal("report out")
    for named in ("--study other", ""):  # the second time it is the one that was collected last
        portal(f"report out {named}")
        assert "PorTAL: other" in PAGE.read_text(encoding="utf-8")
    watched = portal("report out --watch").err
    assert "no driver works on this study; 2 of its runs have no result" in watched
    unknown = portal.refusal("report out --study third")
    assert "no study 'third' was launched here, but other, small" in unknown


def test_what_makes_no_report_is_one_line(portal: Portal) -> None:
    for arguments, message in {
        "a b c --out r": "of one study or of two, not of 3",
        "a b --out r --watch": "are for a report of one folder",
        "a b": "name it by --out",
        "a --price -1": "--price -1 is below 0",
        "a --watch": "no study was launched here",
    }.items():
        assert message in portal.refusal(f"report {arguments}")


@pytest.mark.slow
def test_a_served_report_is_read_until_the_command_is_interrupted(study: Study) -> None:
    finish(study, "base")
    command = [sys.executable, "-c", COMMAND, "report", "out", "--serve", "--every", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        found = re.fullmatch(r"report: (http://127\.0\.0\.1:\d+/) until Ctrl-C\n", server.stdout.readline())
        assert found is not None
        assert server.stdout.readline() == f"1 of 3 runs: {PAGE}\n"
        for path, text in (("index.html", "All runs"), (f"runs/{study.runs[-1].key}.html", "no result yet")):
            with urlopen(found[1] + path, timeout=PATIENCE_S) as response:
                assert text in response.read().decode()
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE_S) == 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReportServer]:
    folder = tmp_path / "report"
    (folder / "runs").mkdir(parents=True)
    (folder / "index.html").write_text("the report")
    (tmp_path / "secret").write_text("not yours")
    (folder / "planted.html").write_text("not yours")
    (folder / "link.html").symlink_to(tmp_path / "secret")
    with ReportServer(folder, 0, lambda: {"index.html", "link.html"}) as server:
        yield server


def call(server: ReportServer, method: str, path: str, **headers: str) -> tuple[HTTPResponse, str]:
    connection = HTTPConnection(server.address.removeprefix("http://").rstrip("/"), timeout=20)
    connection.request(method, path, None, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def test_only_files_of_the_report_are_read_under_the_name_of_this_machine(server: ReportServer) -> None:
    page, text = call(server, "GET", "/index.html")

    assert server.address.startswith("http://127.0.0.1:")
    assert (page.status, text, page.headers["Cache-Control"]) == (200, "the report", "no-store")
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    for path in (
        "/../secret", "/%2e%2e/secret", "/..%2fsecret", "/runs/", "/gone.html", "/runs/../../secret",
        "/planted.html", "/link.html", "//etc/passwd",
    ):  # fmt: skip
        response, text = call(server, "GET", path)
        assert (response.status, "not yours" in text) == (404, False), path
    response, text = call(server, "GET", "/index.html", Host="evil.example:80")
    assert (response.status, "the report" in text) == (403, False)
    assert call(server, "POST", "/runs/a")[0].status == 501


def test_before_the_first_report_a_page_says_so_and_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("planted")
    with ReportServer(tmp_path, 0, set) as server:
        response, text = call(server, "GET", "/")
        assert (response.status, "No run of this study is done yet" in text) == (200, True)
        port = server.address.rstrip("/").rsplit(":", 1)[1]
        with pytest.raises(ValueError, match=rf"--port {port}: Address already in use; choose another"):
            ReportServer(tmp_path, int(port), set)
