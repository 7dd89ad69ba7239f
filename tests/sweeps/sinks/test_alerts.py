"""Alerts reach URLs and commands once in a folder, nobody waits for them, and they say what has happened."""

import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps.launch.driver import run_study
from sweeps.sinks import alerts
from sweeps.sinks.alerts import ALERTS_FILE, AlertDesk, Alerts, AlertWatch, check_target
from sweeps.sinks.events import StudyEvents
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


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next try and the next look come soon."""
    monkeypatch.setattr(alerts, "PAUSE_S", 0.01)


def desk(
    out: Path, *targets: str, told: io.StringIO | None = None, token: str = TOKEN, **options: Any
) -> AlertDesk:
    console = silent() if told is None else Console(file=told, width=500)
    return AlertDesk(Alerts(targets), "small", out, token, console, **options)


@contextmanager
def watch(
    study: Study, out: Path, server: AlertServer, told: io.StringIO | None = None
) -> Iterator[AlertWatch]:
    events = StudyEvents(RunStore(out), study.runs, Session(out, TOKEN))
    with desk(out, server.url, told=told) as open_desk, AlertWatch(events, open_desk, TOKEN) as watching:
        yield watching


def texts(server: AlertServer) -> list[str]:
    return [posted["text"] for posted in server.posted]


def kinds(server: AlertServer) -> list[str]:
    return [posted["kind"] for posted in server.posted]


def record(folder: Path) -> dict[str, dict[str, Any]]:
    """By target, what was delivered and what waits."""
    return json.loads((folder / ALERTS_FILE).read_text())


def test_a_url_and_a_command_get_the_same_json_object_whose_text_chat_programs_show(tmp_path: Path) -> None:
    with alert_server() as server, desk(tmp_path, server.url, f"cat >> '{tmp_path}/told'") as told:
        for key in ("a", "b"):
            told.send("failed", key, f"run {key} failed")

    first, second, end = server.posted
    assert (first["text"], second["text"]) == ("small: run a failed", "small: run b failed")
    assert end["text"] == "small: the launch ended"
    assert (first["kind"], first["study"], first["out"]) == ("failed", "small", str(tmp_path))
    assert {*first} == {"text", "kind", "study", "out", "time", "type"}
    assert first["type"] == "application/json"
    lines = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [{**line, "type": "application/json"} for line in lines] == server.posted


def test_an_alert_is_delivered_once_in_a_folder_also_by_later_launches(tmp_path: Path) -> None:
    with alert_server() as server:
        for keys in (("a", "a", "b"), ("a", "c")):
            with desk(tmp_path, server.url, server.url) as told:
                for key in keys:
                    told.send("failed", key, "a run failed")
        assert kinds(server) == ["failed", "failed", "ended", "failed"]  # of one token there is one end
        written = (tmp_path / ALERTS_FILE).stat().st_mtime_ns
        with desk(tmp_path, server.url) as told:
            told.send("failed", "a", "a run failed")

    assert (tmp_path / ALERTS_FILE).stat().st_mtime_ns == written
    (known,) = record(tmp_path).values()
    assert known == {"delivered": ["a", "b", f"ended {TOKEN}", "c"], "waiting": {}}
    assert server.url not in (tmp_path / ALERTS_FILE).read_text()


def test_what_cannot_be_delivered_is_told_and_the_next_launch_brings_it(tmp_path: Path) -> None:
    told = io.StringIO()
    with alert_server(status=500) as server, alert_server() as other:
        with desk(tmp_path, server.url, other.url, "exit 3", told=told):
            pass
        assert len(server.posted) == alerts.TRIES
        assert sorted(told.getvalue().splitlines()) == [
            "alert not delivered (the command ended with exit code 3): small: the launch ended",
            "alert not delivered (the server answered 500): small: the launch ended",
            "alerts: 2 not delivered; the next launch in this folder tries again",
        ]
        server.status = 200
        with desk(tmp_path, server.url, other.url):
            pass

    assert (len(server.posted), len(other.posted)) == (alerts.TRIES + 1, 1)


def test_a_redirect_is_no_delivery(tmp_path: Path) -> None:
    for status in (301, 302, 303):
        told = io.StringIO()
        with alert_server(status=status) as server, desk(tmp_path, server.url, told=told):
            pass
        assert f"the server answered {status}" in told.getvalue()


def test_an_answer_that_is_no_http_keeps_no_later_alert_back(tmp_path: Path) -> None:
    told = io.StringIO()
    with alert_server() as server:
        server.garbage = True
        with desk(tmp_path, server.url, told=told) as sender:
            sender.send("failed", "a", "a run failed")
            wait_for(
                lambda: len(server.posted) == alerts.TRIES and "BadStatusLine" in told.getvalue(), "the fault"
            )
            server.garbage = False

    assert next(iter(record(tmp_path).values()))["delivered"] == [f"ended {TOKEN}"]


def test_what_is_acknowledged_too_late_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "URL_S", 1.5)
    monkeypatch.setattr(alerts, "COMMAND_S", 1.5)
    told = io.StringIO()
    with alert_server(waits=True) as server:
        with desk(tmp_path, server.url, f"echo >> '{tmp_path}/begun'; sleep 60", told=told):
            pass
        assert sorted(told.getvalue().splitlines()) == [
            "alert may not have arrived (no answer in 1.5 s): small: the launch ended",
            "alert may not have arrived (the command took more than 1.5 s): small: the launch ended",
        ]
    assert len(server.posted) == 1
    assert (tmp_path / "begun").read_text() == "\n"


def test_nobody_waits_for_a_target_that_hangs_and_it_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "URL_S", 29.0)  # the server answers after 30
    monkeypatch.setattr(alerts, "END_PATIENCE_S", 0.1)
    with alert_server(waits=True) as slow, alert_server() as server:
        started = time.monotonic()
        with desk(tmp_path, slow.url, server.url) as sender:
            for number in range(20):
                sender.send("failed", str(number), "a run failed")
            wait_for(lambda: len(server.posted) == 20, "all alerts")

        assert time.monotonic() - started < alerts.URL_S
        assert slow.posted == []


def test_a_damaged_record_names_the_file_to_delete(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"a": 1}', '{"a": {"delivered": []}}'):
        (tmp_path / ALERTS_FILE).write_text(text)
        message = r"alerts\.json: not a record of alerts; delete this file"
        with pytest.raises(ValueError, match=message), desk(tmp_path, "true"):
            pass


def test_a_target_that_is_none_is_refused_without_being_repeated() -> None:
    for right in (
        "https://example.org/hook?token=a", "HTTP://example.org:8080", "mail -s portal me@example.org",
        "curl -d @- https://example.org/topic",
    ):  # fmt: skip
        check_target(right)
    for wrong in (
        "ftp://secret.example.org", "slack://hook/secret", " ", "https://secret:port/", "https://[secret",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"^--alert") as raised:
            Alerts((wrong,))
        assert "secret" not in str(raised.value)


def test_nobody_is_told_without_targets(tmp_path: Path) -> None:
    with desk(tmp_path) as told:
        assert not told.is_open
    assert not (tmp_path / ALERTS_FILE).exists()


def _fail(told: AlertDesk, error: BaseException) -> None:
    told.outcome = lambda: "0 of 3 runs are done, 0 failed"
    raise error


@pytest.mark.parametrize(
    ("error", "how"),
    [(KeyboardInterrupt(), "was interrupted"), (ValueError("no GPU\nthere"), "broke off (no GPU there)")],
)
def test_one_that_breaks_off_says_how(tmp_path: Path, error: BaseException, how: str) -> None:
    with alert_server() as server, pytest.raises(type(error)), desk(tmp_path, server.url) as told:
        _fail(told, error)

    assert texts(server) == [f"small: the launch {how}; 0 of 3 runs are done, 0 failed"]


def test_a_search_is_called_one_and_keeps_its_own_record(tmp_path: Path) -> None:
    kept = tmp_path / "search"
    with alert_server() as server, desk(tmp_path, server.url, what="search", record=kept):
        pass

    assert [(posted["text"], posted["out"]) for posted in server.posted] == [
        ("small: the search ended", str(tmp_path))
    ]
    assert [known["delivered"] for known in record(kept).values()] == [[f"ended {TOKEN}"]]
    assert not (tmp_path / ALERTS_FILE).exists()


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


def test_many_that_fail_at_once_are_one_alert_and_what_was_asked_for_or_stopped_is_none(
    study: Study, tmp_path: Path
) -> None:
    out, log = tmp_path / "out", tmp_path / "out" / "log"
    store, (first, second, _) = RunStore(out), study.runs
    with alert_server() as server, watch(study, out, server) as watching:
        store.mark_failed(first.key, "paused", log, asked="pause")
        store.mark_failed(second.key, "stopped by the search", log, lost=True)
        (out / "stops").mkdir()
        (out / "stops" / second.key).touch()
        watching.look()
        store.forget_failed(study.by_key)
        watching.look()
        for run in study.runs:
            store.mark_failed(run.key, "no memory", log)
        watching.look()

    told, _ = texts(server)
    assert told.startswith("small: 3 runs failed: ")
    assert told.count("no memory") == 3


def test_a_lost_worker_is_told_once_with_what_it_trained(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    session = Session(out, TOKEN)
    PackStore(out).record_pack(PACK, [run.key for run in study.runs[1:]])

    with alert_server() as server, watch(study, out, server) as watching:
        assert session.claim(PACK, 0, "attempt") is not None
        assert session.free_claim(PACK, "nothing")
        watching.look()
        watching.look()

    assert kinds(server) == ["lost", "ended"]
    assert texts(server)[0] == (
        "small: a worker was lost: lora tiny-qwen3 n4 s0 and 1 more go on from their last checkpoint, "
        "if they can"
    )


def test_it_looks_by_itself_and_a_folder_that_cannot_be_read_ends_no_launch_and_is_told_once(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "LOOK_S", 0.05)
    out, told = tmp_path / "out", io.StringIO()
    with alert_server() as server, watch(study, out, server, told):
        RunStore(out).mark_failed(study.runs[1].key, "no memory", out / "log")
        wait_for(lambda: len(server.posted) == 1, "the alert")
        folder = RunStore(out).run_folder(study.runs[2].key)
        folder.mkdir(parents=True)
        (folder / "FAILED.json").write_text("{")
        wait_for(lambda: "alerts: " in told.getvalue(), "the trouble")

    assert told.getvalue().count("alerts: ") == 1  # it was looked at more than once
    assert "not readable as JSON" in told.getvalue()
    assert kinds(server) == ["failed", "ended"]


def test_a_study_tells_its_end_and_a_launch_with_nothing_left_says_nothing(
    study: Study, tmp_path: Path
) -> None:
    with alert_server() as server:
        for _ in range(2):
            targets = Alerts((server.url,))
            run_study(study, tmp_path / "out", executor="local", console=silent(), alerts=targets)

    assert texts(server) == ["small: the launch ended; 3 of 3 runs are done, 0 failed"]


def test_a_launch_that_finds_no_devices_says_so(study: Study, tmp_path: Path) -> None:
    with alert_server() as server, pytest.raises(ValueError, match="GPU"):
        run_study(study, tmp_path / "out", executor="local", gpus=8, alerts=Alerts((server.url,)))

    (told,) = texts(server)
    assert told.startswith("small: the launch broke off (")
    assert told.endswith("; 0 of 3 runs are done, 0 failed")
