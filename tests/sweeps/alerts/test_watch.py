"""What a launch tells people who do not look: failures, lost workers, the budget, and how it ended."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from sweeps.alerts import watch as watch_module
from sweeps.alerts.alerts import Alerts
from sweeps.alerts.desk import AlertDesk
from sweeps.alerts.watch import AlertWatch
from sweeps.launch.driver import run_study
from sweeps.store.run_store import PackStore, RunStore
from sweeps.store.session import Session
from sweeps.study.expand import Study, load_study
from tests.support.alert_server import AlertServer, alert_server
from tests.support.command_line import write_study
from tests.support.studies import silent, wait_for

TOKEN, PACK = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def study(world: Path, tmp_path: Path) -> Study:
    return load_study(write_study(world, tmp_path))


@contextmanager
def watch(
    study: Study, out: Path, server: AlertServer, console: Console | None = None
) -> Iterator[AlertWatch]:
    alerts = Alerts((server.url,))
    with AlertDesk(alerts, study.name, out, TOKEN, console or silent()) as desk:
        watching = AlertWatch(study, Session(out, TOKEN), RunStore(out), desk)
        with watching:
            yield watching


def texts(server: AlertServer) -> list[str]:
    return [posted["text"] for posted in server.posted]


def test_a_run_that_fails_is_told_with_its_cause_and_one_that_had_failed_before_is_not(
    study: Study, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    store = RunStore(out)
    first, second = [run for run in study.runs if run.method == "lora"]
    store.mark_failed(first.key, "the loss is nan", out / "log")

    with alert_server() as server, watch(study, out, server) as watching:
        store.mark_failed(second.key, "the loss of task 'sums' is inf", out / "log")
        watching.look()
        watching.look()

    assert texts(server) == [
        "small: a run failed: lora tiny-qwen3 n4 s1: the loss of task 'sums' is inf",
        "small: the launch ended",
    ]
    assert watching.counts() == "0 of 3 runs are done, 2 failed"


def test_many_that_fail_at_once_are_one_alert(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with alert_server() as server, watch(study, out, server) as watching:
        for run in study.runs:
            RunStore(out).mark_failed(run.key, "no memory", out / "log")
        watching.look()

    first, _ = texts(server)
    assert first.startswith("small: 3 runs failed: ")
    assert first.count("no memory") == 3


def test_a_lost_worker_is_told_once_with_what_it_trained(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    session = Session(out, TOKEN)
    PackStore(out).record_pack(PACK, [run.key for run in study.runs[1:]])

    with alert_server() as server, watch(study, out, server) as watching:
        assert session.claim(PACK, 0, "attempt") is not None
        assert session.free_claim(PACK, "nothing")
        watching.look()
        watching.look()

    assert [posted["kind"] for posted in server.posted] == ["lost", "ended"]
    assert texts(server)[0] == (
        "small: a worker was lost: lora tiny-qwen3 n4 s0 and 1 more go on from their last checkpoint, "
        "if they can"
    )


def test_it_looks_by_itself(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "LOOK_S", 0.05)
    out = tmp_path / "out"
    with alert_server() as server, watch(study, out, server):
        RunStore(out).mark_failed(study.runs[1].key, "no memory", out / "log")
        wait_for(lambda: len(server.posted) == 1, "the alert")

    assert [posted["kind"] for posted in server.posted] == ["failed", "ended"]


def test_a_folder_that_cannot_be_read_ends_no_launch_and_is_told_once(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "LOOK_S", 0.05)
    out = tmp_path / "out"
    told = io.StringIO()
    with alert_server() as server, watch(study, out, server, Console(file=told, width=500)):
        folder = RunStore(out).run_folder(study.runs[1].key)
        folder.mkdir(parents=True)
        (folder / "FAILED.json").write_text("{")
        wait_for(lambda: "alerts: " in told.getvalue(), "the trouble")

    assert told.getvalue().count("alerts: ") == 1  # it was looked at more than once
    assert "not readable as JSON" in told.getvalue()
    assert [posted["kind"] for posted in server.posted] == ["ended"]


def test_a_study_tells_its_end_and_a_launch_with_nothing_left_says_nothing(
    study: Study, tmp_path: Path
) -> None:
    with alert_server() as server:
        for _ in range(2):
            alerts = Alerts((server.url,))
            run_study(study, tmp_path / "out", executor="local", console=silent(), alerts=alerts)

    assert texts(server) == ["small: the launch ended; 3 of 3 runs are done, 0 failed"]


def test_a_launch_that_finds_no_devices_says_so(study: Study, tmp_path: Path) -> None:
    with alert_server() as server, pytest.raises(ValueError, match="GPU"):
        run_study(study, tmp_path / "out", executor="local", gpus=8, alerts=Alerts((server.url,)))

    (told,) = texts(server)
    assert told.startswith("small: the launch broke off (")
    assert told.endswith("; 0 of 3 runs are done, 0 failed")
