"""Alerts reach URLs and commands, once in a folder, and nobody waits for them."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps.alerts import courier
from sweeps.alerts.alert import Alert
from sweeps.alerts.courier import ALERTS_FILE, Courier, check_target
from tests.support.alert_server import alert_server
from tests.support.studies import silent, wait_for


def record(folder: Path) -> dict[str, dict[str, Any]]:
    """By target, what was delivered and what waits."""
    return json.loads((folder / ALERTS_FILE).read_text())


def alert(key: str = "failed 1") -> Alert:
    return Alert("failed", key, "small: lora failed: the loss is nan", "small", "out")


def test_a_url_gets_a_json_object_whose_text_chat_programs_show(tmp_path: Path) -> None:
    with alert_server() as server:
        sender = Courier(tmp_path, [server.url], silent())
        sender.send(alert())
        sender.close(30)

    (posted,) = server.posted
    assert posted["text"] == "small: lora failed: the loss is nan"
    assert (posted["kind"], posted["study"], posted["out"]) == ("failed", "small", "out")
    assert posted["type"] == "application/json"
    assert {*posted} == {"text", "kind", "study", "out", "time", "type"}


def test_a_command_gets_the_same_on_stdin(tmp_path: Path) -> None:
    sender = Courier(tmp_path, [f"cat >> '{tmp_path}/told'"], silent())
    for key in ("a", "b"):
        sender.send(alert(key))
    sender.close(30)

    lines = (tmp_path / "told").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [alert("a").text, alert("b").text]


def test_an_alert_is_delivered_once_in_a_folder_also_by_later_launches(tmp_path: Path) -> None:
    with alert_server() as server:
        for keys in (("a", "a", "b"), ("a", "c")):
            sender = Courier(tmp_path, [server.url, server.url], silent())
            for key in keys:
                sender.send(alert(key))
            sender.close(30)

    assert len(server.posted) == 3
    written = (tmp_path / ALERTS_FILE).stat().st_mtime_ns
    sender = Courier(tmp_path, [server.url], silent())
    sender.send(alert("a"))
    sender.close(30)
    assert (tmp_path / ALERTS_FILE).stat().st_mtime_ns == written
    (known,) = record(tmp_path).values()
    assert known == {"delivered": ["a", "b", "c"], "waiting": {}}
    assert server.url not in (tmp_path / ALERTS_FILE).read_text()


def test_what_cannot_be_delivered_is_told_and_the_next_launch_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "PAUSE_S", 0.01)
    told = io.StringIO()
    with alert_server(status=500) as server, alert_server() as other:
        sender = Courier(tmp_path, [server.url, other.url, "exit 3"], Console(file=told, width=500))
        sender.send(alert())
        sender.close(30)
        assert len(server.posted) == courier.TRIES
        assert sorted(told.getvalue().splitlines()) == [
            f"alert not delivered (the command ended with exit code 3): {alert().text}",
            f"alert not delivered (the server answered 500): {alert().text}",
            "alerts: 2 not delivered; the next launch in this folder tries again",
        ]
        server.status = 200
        Courier(tmp_path, [server.url, other.url], silent()).close(30)

    assert len(server.posted) == courier.TRIES + 1
    assert len(other.posted) == 1


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_is_no_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(courier, "PAUSE_S", 0.01)
    told = io.StringIO()
    with alert_server(status=status) as server:
        sender = Courier(tmp_path, [server.url], Console(file=told, width=500))
        sender.send(alert())
        sender.close(30)

    assert f"the server answered {status}" in told.getvalue()


def test_an_answer_that_is_no_http_does_not_end_the_courier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "PAUSE_S", 0.01)
    told = io.StringIO()
    with alert_server() as server:
        server.garbage = True
        sender = Courier(tmp_path, [server.url], Console(file=told, width=500))
        sender.send(alert("a"))
        wait_for(
            lambda: len(server.posted) == courier.TRIES and "BadStatusLine" in told.getvalue(), "the fault"
        )
        server.garbage = False
        sender.send(alert("b"))
        sender.close(30)

    assert next(iter(record(tmp_path).values()))["delivered"] == ["b"]


def test_what_is_acknowledged_too_late_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "URL_S", 1.5)
    monkeypatch.setattr(courier, "COMMAND_S", 1.5)
    told = io.StringIO()
    with alert_server(waits=True) as server:
        sender = Courier(
            tmp_path, [server.url, f"echo >> '{tmp_path}/begun'; sleep 60"], Console(file=told, width=500)
        )
        sender.send(alert())
        sender.close(30)
        assert sorted(told.getvalue().splitlines()) == [
            f"alert may not have arrived (no answer in 1.5 s): {alert().text}",
            f"alert may not have arrived (the command took more than 1.5 s): {alert().text}",
        ]
    assert len(server.posted) == 1
    assert (tmp_path / "begun").read_text() == "\n"


def test_nobody_waits_for_a_target_that_hangs_and_it_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "URL_S", 29.0)  # the server answers after 30
    with alert_server(waits=True) as slow, alert_server() as server:
        sender = Courier(tmp_path, [slow.url, server.url], silent())
        started = time.monotonic()
        for number in range(20):
            sender.send(alert(str(number)))
        wait_for(lambda: len(server.posted) == 20, "all alerts")
        sender.close(0.1)

        assert time.monotonic() - started < courier.URL_S
        assert slow.posted == []


def test_a_damaged_record_names_the_file_to_delete(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"a": 1}', '{"a": {"delivered": []}}'):
        (tmp_path / ALERTS_FILE).write_text(text)
        with pytest.raises(ValueError, match=r"alerts\.json: not a record of alerts; delete this file"):
            Courier(tmp_path, ["true"], silent())


def test_a_target_that_is_none_is_refused_without_being_repeated() -> None:
    for right in (
        "https://example.org/hook?token=a", "HTTP://example.org:8080", "mail -s portal me@example.org",
        "curl -d @- https://example.org/topic",
    ):  # fmt: skip
        check_target(right)
    for wrong in (
        "ftp://secret.example.org",
        "slack://hook/secret",
        " ",
        "https://secret:port/",
        "https://[secret",
    ):
        with pytest.raises(ValueError, match=r"^--alert") as raised:
            check_target(wrong)
        assert "secret" not in str(raised.value)
