"""What a launch or a search tells of itself: its budget, and how it ended."""

import json
from pathlib import Path

import pytest

from sweeps.alerts.alerts import Alerts, Budget
from sweeps.alerts.courier import ALERTS_FILE
from sweeps.alerts.desk import AlertDesk
from tests.support.alert_server import AlertServer, alert_server
from tests.support.studies import silent


def desk(out: Path, server: AlertServer, budget: Budget | None = None) -> AlertDesk:
    return AlertDesk(Alerts((server.url,), budget), "small", out, "0123456789abcdef", silent())


def test_a_budget_is_spent_by_what_is_held(tmp_path: Path) -> None:
    with alert_server() as server:
        with desk(tmp_path / "rich", server, Budget(1e9, 3.0)) as rich:
            rich.holds(8)
            rich.check_budget()
        assert [posted["kind"] for posted in server.posted] == ["ended"]
        with desk(tmp_path / "poor", server, Budget(1e-15, 3.0)) as poor:
            poor.check_budget()  # nothing is held yet
            poor.holds(8)
            poor.check_budget()
            poor.check_budget()

    assert [posted["kind"] for posted in server.posted[1:]] == ["budget", "ended"]
    assert server.posted[1]["text"] == "small: the launch has cost more than 1e-15; it goes on"


def test_what_was_held_before_stays_spent(tmp_path: Path) -> None:
    with alert_server() as server, desk(tmp_path, server, Budget(1e-15, 3.0)) as told:
        told.holds(8)
        told.holds(0)
        told.check_budget()

    assert [posted["kind"] for posted in server.posted] == ["budget", "ended"]


def _fail(told: AlertDesk, error: BaseException) -> None:
    told.outcome = lambda: "0 of 3 runs are done, 0 failed"
    raise error


@pytest.mark.parametrize(
    ("error", "how"),
    [(KeyboardInterrupt(), "was interrupted"), (ValueError("no GPU\nthere"), "broke off (no GPU there)")],
)
def test_one_that_breaks_off_says_how(tmp_path: Path, error: BaseException, how: str) -> None:
    with alert_server() as server, pytest.raises(type(error)), desk(tmp_path, server) as told:
        _fail(told, error)

    (posted,) = server.posted
    assert posted["text"] == f"small: the launch {how}; 0 of 3 runs are done, 0 failed"


def test_a_search_is_called_one_and_keeps_its_own_record(tmp_path: Path) -> None:
    record = tmp_path / "search"
    with alert_server() as server:
        alerts = Alerts((server.url,))
        with AlertDesk(alerts, "tune", tmp_path, "token", silent(), what="search", record=record):
            pass

    (posted,) = server.posted
    assert (posted["text"], posted["out"]) == ("tune: the search ended", str(tmp_path))
    (kept,) = json.loads((record / ALERTS_FILE).read_text()).values()
    assert kept["delivered"] == ["ended token"]
    assert not (tmp_path / ALERTS_FILE).exists()


def test_nobody_is_told_without_targets(tmp_path: Path) -> None:
    with AlertDesk(Alerts(), "small", tmp_path, "token", silent()) as told:
        assert not told.is_open
    assert not (tmp_path / ALERTS_FILE).exists()


def test_a_budget_needs_somebody_to_tell_and_is_above_nothing() -> None:
    with pytest.raises(ValueError, match="told to nobody"):
        Alerts((), Budget(1.0, 1.0))
    for limit, price in ((0.0, 1.0), (1.0, -1.0), (float("nan"), 1.0), (1.0, float("inf"))):
        with pytest.raises(ValueError, match="above 0"):
            Budget(limit, price)
