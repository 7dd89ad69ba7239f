"""`portal sweep pause|stop|retry`: a driver at work is asked, and where there is none the runs are marked."""

import json
from pathlib import Path

import pytest

from portal.cli import main
from sweeps.store.lease import acquire
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import RunRequests
from sweeps.study.expand import load_study
from sweeps.study.manifest import record_manifest
from tests.support.command_line import only_line, write_study


@pytest.fixture
def study(world: Path, tmp_path: Path) -> str:
    return write_study(world, tmp_path)


@pytest.fixture
def out(study: str, tmp_path: Path) -> Path:
    """An output folder in which the study has been launched, and nothing is finished."""
    record_manifest(tmp_path / "out", load_study(study).manifest)
    return tmp_path / "out"


def key_of(study: str, method: str) -> str:
    return next(run.key for run in load_study(study).runs if run.method == method)


def counts_of(study: str, out: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    capsys.readouterr()
    assert main(["sweep", "status", study, "--out", str(out), "--json"]) == 0
    counts: dict[str, int] = json.loads(capsys.readouterr().out)
    return counts


def test_without_a_driver_runs_are_left_out_at_once(
    study: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora, base = key_of(study, "lora"), key_of(study, "base")

    assert main(["sweep", "pause", str(out), lora]) == 0
    assert f"no launch trains {lora} until `portal sweep retry` lets them go on" in capsys.readouterr().out
    assert main(["sweep", "stop", str(out), base]) == 0

    counts = counts_of(study, out, capsys)
    assert (counts["paused"], counts["stopped"], counts["failed"], counts["missing"]) == (1, 1, 0, 1)
    assert RunRequests(out).asked() == {}
    assert main(["sweep", "status", study, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "1 paused, 1 stopped" in told
    assert f"({lora}): paused as asked, before its next step" in told
    assert main(["sweep", "plan", study, "--out", str(out), "--runs"]) == 0
    told = capsys.readouterr().out
    assert "0 done, 0 failed, 1 missing, 2 paused or stopped" in told
    listed = {key: [line for line in told.splitlines() if key in line] for key in (lora, base)}
    assert [line.split().count("paused") for line in listed[lora]] == [1]
    assert [line.split().count("stopped") for line in listed[base]] == [1]


def test_a_driver_at_work_is_asked(study: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lora, base = key_of(study, "lora"), key_of(study, "base")
    RunStore(out).mark_failed(base, "a loss was not finite", out / "logs" / "lane-0.log")

    with acquire(out):
        assert main(["sweep", "pause", str(out), lora]) == 0
        assert f"the driver at work here is asked to pause {lora}" in capsys.readouterr().out
        assert main(["sweep", "retry", study, "--failed", "--out", str(out), "--alert", "cat"]) == 0
        told = capsys.readouterr()
        assert "1 to be tried again by the next launch of study 'small'" in told.out
        assert "--alert is for a launch; the driver at work here" in told.err
        assert RunRequests(out).asked() == {lora: "pause", base: "retry"}

    assert not RunStore(out).is_finished(lora)


@pytest.mark.parametrize("command", ["pause", "stop"])
def test_a_run_that_is_not_here_or_has_ended_is_one_line(
    study: str, out: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = key_of(study, "lora")
    RunStore(out).mark_failed(lora, "a loss was not finite", out / "logs" / "lane-0.log")

    assert main(["sweep", command, str(out), "0" * 16]) == 2
    assert "missing; launch the study again to write it anew" in only_line(capsys)
    assert main(["sweep", command, str(out), lora]) == 2
    assert only_line(capsys) == f"portal: run '{lora}' has ended: a loss was not finite"
    assert RunRequests(out).asked() == {}
