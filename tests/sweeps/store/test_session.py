"""A pack is one lane's at a time, and a lost one is tried again only where something was saved."""

from pathlib import Path

import pytest

from sweeps.store.session import ClaimLost, Session, clear_session_files, read_progress, request_stop

RUN, PACK, TOKEN = "0" * 16, "1" * 16, "2" * 16


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path, TOKEN)


def test_a_pack_belongs_to_one_lane_and_to_its_latest_attempt_until_the_round_ends(session: Session) -> None:
    first = session.claim(PACK, 0, "a")
    assert session.claim(PACK, 1, "b") is None
    again = session.claim(PACK, 0, "c")

    assert first is not None
    assert again is not None
    again.check()
    with pytest.raises(ClaimLost):
        first.check()
    session.end_round()
    assert session.claim(PACK, 1, "d") is not None


def test_a_lost_pack_is_free_once_more_and_then_given_up_unless_something_was_saved(session: Session) -> None:
    session.claim(PACK, 0, "a")
    assert session.claimed_by(0) == [PACK]

    assert session.free_claim(PACK, "0 0000000001")
    assert session.claim(PACK, 1, "b") is not None
    assert session.free_claim(PACK, "0 0000000002")
    assert not session.free_claim(PACK, "0 0000000002")


def test_teams_that_have_ended_have_been_placed(session: Session) -> None:
    session.note_team(0, "teams placed")
    session.note_team(1, "teams ended")

    assert session.teams_have([0, 1], "teams placed")
    assert not session.teams_have([0, 1], "teams ended")
    session.end_round()
    assert not session.teams_have([1], "teams ended")


def test_nothing_outlives_the_driver(session: Session, tmp_path: Path) -> None:
    session.claim(PACK, 0, "a")
    session.write_progress(0, {"loss": 1.0})
    session.write_lane_error(0, "OSError: no space")
    request_stop(tmp_path, [RUN])
    assert (session.stops(), read_progress(tmp_path)) == ({RUN}, [{"loss": 1.0}])
    assert session.lane_error(0) == "OSError: no space"

    clear_session_files(tmp_path)

    assert list(tmp_path.iterdir()) == []
    assert (session.stops(), read_progress(tmp_path), session.lane_error(0)) == (set(), [], None)
