"""A lane that dies frees what it held, once; what it had finished stays finished."""

from dataclasses import replace
from pathlib import Path

import pytest

from portal.storage.atomic import write_json_atomic
from portal.storage.checkpoint import save_checkpoint
from sweeps.launch.ray_lanes import _lane_process, release_lane
from sweeps.store.run_store import PackStore, RunStore, pack_key
from sweeps.store.session import Session
from sweeps.study.expand import Study
from sweeps.worker.job import LaneJob, PackJob
from sweeps.worker.lane_log import log_path

TOKEN = "0" * 16


@pytest.fixture(autouse=True)
def _lease(tmp_path: Path) -> None:
    """The driver that the lanes are of still holds the folder."""
    write_json_atomic(tmp_path / "driver.json", {"token": TOKEN})


def test_a_dead_lane_frees_its_pack_once_and_then_its_runs_are_lost(
    tiny_study: Study, tmp_path: Path
) -> None:
    store, session = RunStore(tmp_path), Session(tmp_path, TOKEN)
    finished, live = tiny_study.runs[0].key, tiny_study.runs[1].key
    pack = PackJob(pack_key([live]), 1, (live,), (), ())
    job = LaneJob(out=str(tmp_path), token=TOKEN, lane=0, packs=(pack,), rows={})
    for key in (finished, live):
        assert session.claim(pack_key([key]), 0, "a") is not None

    release_lane(job)
    first = store.failure(live)
    assert session.claim(pack_key([live]), 1, "b") is not None
    release_lane(replace(job, lane=1))

    assert first is None
    failure = store.failure(live)
    assert failure is not None
    assert (failure["cause"], failure["lost"]) == ("its worker died twice", True)
    assert store.failure(finished) is None


def test_a_pack_that_saves_something_between_two_deaths_goes_on(tiny_study: Study, tmp_path: Path) -> None:
    store, session = RunStore(tmp_path), Session(tmp_path, TOKEN)
    run = tiny_study.runs[0].key
    pack = PackJob(pack_key([run]), 1, (run,), (), ())
    packs = PackStore(tmp_path)
    packs.record_pack(pack.key, [run])
    job = LaneJob(out=str(tmp_path), token=TOKEN, lane=0, packs=(pack,), rows={})
    for sequence in range(3):
        assert session.claim(pack.key, 0, f"attempt {sequence}") is not None
        save_checkpoint(packs.pack_folder(pack.key) / "state", sequence + 1, {}, {})
        release_lane(job)
        assert store.failure(run) is None
    assert session.claim(pack.key, 1, "the last one") is not None

    release_lane(replace(job, lane=1))

    assert (store.failure(run) or {})["cause"] == "its worker died twice"


def test_what_ended_a_lane_is_the_cause_of_its_runs(
    tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store, session = RunStore(tmp_path), Session(tmp_path, TOKEN)
    run = tiny_study.runs[0].key
    pack = PackJob(pack_key([run]), 1, (run,), (), ())
    job = LaneJob(out=str(tmp_path), token=TOKEN, lane=0, packs=(pack,), rows={})
    for attempt in ("a", "b"):
        session.claim(pack.key, 0, attempt)
        with pytest.raises(RuntimeError), _lane_process(job):
            raise RuntimeError("no space for the temporary file")
        release_lane(job)

    failure = store.failure(run)

    assert failure is not None
    assert failure["cause"] == (
        "its worker died twice, the last time of RuntimeError: no space for the temporary file"
    )
    assert "no space for the temporary file" in log_path(tmp_path, 0).read_text()


def test_a_driver_that_has_lost_the_folder_frees_nothing(tiny_study: Study, tmp_path: Path) -> None:
    store, session = RunStore(tmp_path), Session(tmp_path, TOKEN)
    run = tiny_study.runs[0].key
    pack = PackJob(pack_key([run]), 1, (run,), (), ())
    job = LaneJob(out=str(tmp_path), token=TOKEN, lane=0, packs=(pack,), rows={})
    session.claim(pack.key, 0, "a")
    write_json_atomic(tmp_path / "driver.json", {"token": "1" * 16})

    release_lane(job)
    release_lane(job)

    assert session.claimed_by(0) == [pack.key]
    assert store.failure(run) is None
