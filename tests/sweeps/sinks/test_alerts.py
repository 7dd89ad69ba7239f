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
END = "small: the launch ended"


@pytest.fixture
def study(world: Path, tmp_path: Path) -> Study:
    return load_study(write_study(world, tmp_path))


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """The runs of the folder that is watched."""
    return RunStore(tmp_path / "out")


@pytest.fixture
def told() -> io.StringIO:
    """What the console says."""
    return io.StringIO()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next try and the next look come soon."""
    monkeypatch.setattr(alerts, "PAUSE_S", 0.01)


def desk(out: Path, *targets: str, told: io.StringIO | None = None, **options: Any) -> AlertDesk:
    console = silent() if told is None else Console(file=told, width=500)
    return AlertDesk(Alerts(targets), "small", out, TOKEN, console, **options)


@contextmanager
def watch(
    study: Study, store: RunStore, server: AlertServer, told: io.StringIO | None = None
) -> Iterator[AlertWatch]:
    events = StudyEvents(store, study.runs, Session(store.out, TOKEN))
    with (
        desk(store.out, server.url, told=told) as open_desk,
        AlertWatch(events, open_desk, TOKEN) as watching,
    ):
        yield watching


def texts(server: AlertServer) -> list[str]:
    return [posted["text"] for posted in server.posted]


def record(folder: Path) -> list[dict[str, Any]]:
    """Of each target, what was delivered and what waits."""
    return [*json.loads((folder / ALERTS_FILE).read_text()).values()]


def test_a_url_and_a_command_get_the_same_json_object_whose_text_chat_programs_show(tmp_path: Path) -> None:
    with alert_server() as server, desk(tmp_path, server.url, f"cat >> '{tmp_path}/told'") as sender:
        for key in ("a", "b"):
            sender.send("failed", key, f"run {key} failed")

    assert texts(server) == ["small: run a failed", "small: run b failed", END]
    first = server.posted[0]
    assert (first["kind"], first["study"], first["out"]) == ("failed", "small", str(tmp_path))
    assert {*first} == {"text", "kind", "study", "out", "time", "type"}
    lines = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [{**line, "type": "application/json"} for line in lines] == server.posted


def test_an_alert_is_delivered_once_in_a_folder_also_by_later_launches(tmp_path: Path) -> None:
    path = tmp_path / ALERTS_FILE
    with alert_server() as server:
        for keys in (("a", "a", "b"), ("a", "c"), ("a",)):
            written = path.stat().st_mtime_ns if path.exists() else 0
            with desk(tmp_path, server.url, server.url) as sender:
                for key in keys:
                    sender.send("failed", key, "a run failed")

    assert path.stat().st_mtime_ns == written  # by a launch without news
    # of one token there is one end
    assert [posted["kind"] for posted in server.posted] == ["failed", "failed", "ended", "failed"]
    assert record(tmp_path) == [{"delivered": ["a", "b", f"ended {TOKEN}", "c"], "waiting": {}}]
    assert server.url not in path.read_text()


def test_what_cannot_be_delivered_is_told_and_the_next_launch_brings_it(
    tmp_path: Path, told: io.StringIO
) -> None:
    with alert_server(status=500) as server, alert_server() as other:
        with desk(tmp_path, server.url, other.url, "exit 3", told=told):
            pass
        assert len(server.posted) == alerts.TRIES
        assert sorted(told.getvalue().splitlines()) == [
            f"alert not delivered (the command ended with exit code 3): {END}",
            f"alert not delivered (the server answered 500): {END}",
            "alerts: 2 not delivered; the next launch in this folder tries again",
        ]
        for redirect in (301, 302, 303):  # is no delivery
            server.status = redirect
            with desk(tmp_path, server.url, told=told):
                pass
            assert f"the server answered {redirect}" in told.getvalue()
        server.status = 200
        with desk(tmp_path, server.url, other.url):
            pass

    assert (len(server.posted), len(other.posted)) == (4 * alerts.TRIES + 1, 1)


def test_an_answer_that_is_no_http_keeps_no_later_alert_back(tmp_path: Path, told: io.StringIO) -> None:
    with alert_server() as server:
        server.garbage = True
        with desk(tmp_path, server.url, told=told) as sender:
            sender.send("failed", "a", "a run failed")
            wait_for(
                lambda: len(server.posted) == alerts.TRIES and "BadStatusLine" in told.getvalue(), "the fault"
            )
            server.garbage = False

    assert record(tmp_path)[0]["delivered"] == [f"ended {TOKEN}"]


def test_what_is_acknowledged_too_late_is_not_sent_again(
    tmp_path: Path, told: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("URL_S", "COMMAND_S"):
        monkeypatch.setattr(alerts, limit, 1.5)
    with alert_server(waits=True) as server:
        with desk(tmp_path, server.url, f"echo >> '{tmp_path}/begun'; sleep 60", told=told):
            pass
        assert sorted(told.getvalue().splitlines()) == [
            f"alert may not have arrived (no answer in 1.5 s): {END}",
            f"alert may not have arrived (the command took more than 1.5 s): {END}",
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


def test_a_target_that_is_none_is_refused_without_being_repeated_and_none_tells_nobody(
    tmp_path: Path,
) -> None:
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
    with desk(tmp_path) as sender:
        assert not sender.is_open
    assert not (tmp_path / ALERTS_FILE).exists()


def _fail(sender: AlertDesk, error: BaseException) -> None:
    sender.outcome = lambda: "0 of 3 runs are done, 0 failed"
    raise error


@pytest.mark.parametrize(
    ("error", "how"),
    [(KeyboardInterrupt(), "was interrupted"), (ValueError("no GPU\nthere"), "broke off (no GPU there)")],
)
def test_one_that_breaks_off_says_how(tmp_path: Path, error: BaseException, how: str) -> None:
    with alert_server() as server, pytest.raises(type(error)), desk(tmp_path, server.url) as sender:
        _fail(sender, error)

    assert texts(server) == [f"small: the launch {how}; 0 of 3 runs are done, 0 failed"]


def test_a_search_is_called_one_and_keeps_its_own_record(tmp_path: Path) -> None:
    with alert_server() as server, desk(tmp_path, server.url, what="search", record=tmp_path / "search"):
        pass

    (posted,) = server.posted
    assert (posted["text"], posted["out"]) == ("small: the search ended", str(tmp_path))
    assert [known["delivered"] for known in record(tmp_path / "search")] == [[f"ended {TOKEN}"]]
    assert not (tmp_path / ALERTS_FILE).exists()


def test_failures_are_told_once_with_their_causes_but_not_earlier_ones_nor_what_was_asked_for_or_stopped(
    study: Study, store: RunStore
) -> None:
    log, (first, second, third) = store.out / "log", study.runs
    store.mark_failed(first.key, "no disk", log)
    with alert_server() as server, watch(study, store, server) as watching:
        store.mark_failed(second.key, "the loss of task 'sums' is inf", log)
        watching.look()
        watching.look()
        assert watching.counts() == "0 of 3 runs are done, 2 failed"
        store.mark_failed(first.key, "paused", log, asked="pause")
        store.mark_failed(third.key, "stopped by the search", log, lost=True)
        (store.out / "stops").mkdir()
        (store.out / "stops" / third.key).touch()
        watching.look()
        store.forget_failed(study.by_key)
        watching.look()
        for run in study.runs:
            store.mark_failed(run.key, "no memory", log)
        watching.look()

    one, three, end = texts(server)
    assert one == f"small: a run failed: {second.describe()}: the loss of task 'sums' is inf"
    assert three.startswith("small: 3 runs failed: ")
    assert three.count("no memory") == 3
    assert end == END


def test_a_lost_worker_is_told_once_with_what_it_trained(study: Study, store: RunStore) -> None:
    session = Session(store.out, TOKEN)
    PackStore(store.out).record_pack(PACK, [run.key for run in study.runs[1:]])

    with alert_server() as server, watch(study, store, server) as watching:
        assert session.claim(PACK, 0, "attempt") is not None
        assert session.free_claim(PACK, "nothing")
        watching.look()
        watching.look()

    assert [posted["kind"] for posted in server.posted] == ["lost", "ended"]
    assert texts(server)[0] == (
        "small: a worker was lost: lora tiny-qwen3 n4 s0 and 1 more go on from their last checkpoint, "
        "if they can"
    )


def test_it_looks_by_itself_and_a_folder_that_cannot_be_read_ends_no_launch_and_is_told_once(
    study: Study, store: RunStore, told: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "LOOK_S", 0.05)
    with alert_server() as server, watch(study, store, server, told):
        store.mark_failed(study.runs[1].key, "no memory", store.out / "log")
        wait_for(lambda: len(server.posted) == 1, "the alert")
        folder = store.run_folder(study.runs[2].key)
        folder.mkdir(parents=True)
        (folder / "FAILED.json").write_text("{")
        wait_for(lambda: "alerts: " in told.getvalue(), "the trouble")

    assert told.getvalue().count("alerts: ") == 1  # it was looked at more than once
    assert f"{folder}/FAILED.json: not a failure's marker" in told.getvalue()
    assert [posted["kind"] for posted in server.posted] == ["failed", "ended"]


def test_a_study_tells_its_end_and_a_launch_with_nothing_left_or_without_devices_says_so(
    study: Study, tmp_path: Path
) -> None:
    with alert_server() as server:
        with pytest.raises(ValueError, match="GPU"):
            run_study(study, tmp_path, executor="local", gpus=8, alerts=Alerts((server.url,)))
        for _ in range(2):  # the second has nothing to tell
            run_study(study, tmp_path, executor="local", alerts=Alerts((server.url,)))

    broken, ended = texts(server)
    assert broken.startswith("small: the launch broke off (")
    assert broken.endswith("; 0 of 3 runs are done, 0 failed")
    assert ended == "small: the launch ended; 3 of 3 runs are done, 0 failed"
