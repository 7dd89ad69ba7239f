"""fsck names the remedy, gc deletes only what nothing needs, cancel and retry do what they say."""

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from portal.cli import main
from portal.data.token_cache import read_cache
from sweeps.launch.driver import run_study
from sweeps.store.gc import delete_garbage, find_garbage
from sweeps.store.lease import acquire, request_cancel
from sweeps.store.run_store import PackStore, RunStore
from sweeps.study.expand import Study
from sweeps.worker.job import log_path
from tests.support.alert_server import alert_server
from tests.support.studies import Tables, silent, tables_of


def test_fsck_on_the_command_line_names_the_remedy(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "fsck", str(finished)]) == 0
    assert "0 faults" in capsys.readouterr().out
    (run, *_) = sorted((finished / "runs").iterdir())
    (run / "DONE.json").write_text('{"flies": {}}')

    assert main(["sweep", "fsck", str(finished)]) == 3

    captured = capsys.readouterr()
    assert captured.out.endswith("checked, 1 fault\n")
    assert f"delete {run} and give the same command again" in captured.err
    assert main(["sweep", "fsck", str(finished / "runs")]) == 2


@pytest.mark.slow
def test_an_altered_row_cache_is_prepared_again(
    finished: Path, tiny_study: Study, unbroken: tuple[Path, Tables]
) -> None:
    (folder, *_) = sorted((finished / "rows").iterdir())
    data = bytearray((folder / "rows-00000.parquet").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "rows-00000.parquet").write_bytes(data)
    with pytest.raises(ValueError, match="does not match"):
        read_cache(folder)
    shutil.rmtree(finished / "runs")

    outcome = run_study(tiny_study, finished, executor="local", console=silent())

    assert outcome.is_done
    assert tables_of(tiny_study, finished).results.equals(unbroken[1].results)


def test_gc_names_what_finished_runs_and_killed_writers_leave_and_deletes_it_when_told(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "gc", str(finished)]) == 0
    assert "nothing to delete" in capsys.readouterr().out
    packs = PackStore(finished).recorded_packs()
    done, other = (PackStore(finished).pack_folder(key) / "state" for key in sorted(packs)[:2])
    for state in (done, other):
        (state / "0000000001").mkdir(parents=True)
        (state / "0000000001" / "tensors.safetensors").write_bytes(bytes(2**20))
    (RunStore(finished).run_folder(packs[other.parent.name][0]) / "DONE.json").unlink()
    leftover = finished / "rows" / ".rows-00000.parquet.77.tmp"
    leftover.write_bytes(bytes(10))

    found = find_garbage(finished)

    assert [(each.path, each.num_bytes) for each in found] == [(done, 2**20), (leftover, 10)]
    assert main(["sweep", "gc", str(finished)]) == 0
    assert "1.0 MiB in 2 places can go; --delete deletes it" in capsys.readouterr().out
    assert leftover.exists()
    with acquire(finished), pytest.raises(ValueError, match="in use by process"):
        delete_garbage(finished)
    assert main(["sweep", "gc", str(finished), "--delete", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == 2**20 + 10
    assert find_garbage(finished) == []
    assert (other / "0000000001").exists()


RUN = "import sys; from portal.cli import main; sys.exit(main(sys.argv[1:]))"
OFTEN = "from sweeps.store import lease; lease.BEAT_S = 0.02; "
"""A driver looks for a request to stop once a second; a fast machine has ended the study by then."""


def run_command(study: Path, out: Path) -> list[str]:
    """`portal sweep run` in a process of its own, without Ray."""
    options = ["sweep", "run", str(study), "--out", str(out), "--executor", "local"]
    return [sys.executable, "-c", OFTEN + RUN, *options]


@pytest.mark.slow
def test_a_cancelled_study_goes_on_when_the_folder_is_free_and_ends_in_the_same_tables(
    tiny_study: Study,
    study_path: Path,
    unbroken: tuple[Path, Tables],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    command = run_command(study_path, out)
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list(out.glob("packs/*/pack.json")) and driver.poll() is None:
        time.sleep(0.05)

    holder = request_cancel(out)

    _, printed = driver.communicate()
    assert holder is not None
    assert holder["pid"] == driver.pid
    assert driver.returncode == 130, printed
    assert "interrupted; the same command continues where it stopped" in printed
    assert request_cancel(out) is None

    held = acquire(out)
    assert main(command[3:]) == 2
    assert "wait for it (--wait)" in capsys.readouterr().err
    started = time.monotonic()
    threading.Timer(1.0, held.release).start()
    assert main([*command[3:], "--wait"]) == 0
    assert time.monotonic() - started > 1.0
    assert f"waiting: {out}: in use by process" in capsys.readouterr().err
    assert tables_of(tiny_study, out).results.equals(unbroken[1].results)


def test_retry_takes_failed_runs_up_again(
    tiny_study: Study, study_path: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = RunStore(finished)
    first, second = (run.key for run in tiny_study.runs if run.method == "portal")
    for key in (first, second):
        shutil.rmtree(store.run_folder(key) / "artifact")
        (store.run_folder(key) / "DONE.json").unlink()
        store.mark_failed(key, "a loss was not finite", log_path(finished, 0))
    command = ["sweep", "retry", str(study_path), "--out", str(finished), "--executor", "local"]

    assert main(command) == 2
    assert f"or all of them by --failed; failed: {first}, {second}" in capsys.readouterr().err
    assert main([*command[:3], "0" * 16, *command[3:]]) == 2
    assert "has not failed here" in capsys.readouterr().err
    assert main([*command[:3], first, *command[3:]]) == 3
    assert store.is_done(first)
    assert not store.is_done(second)
    with alert_server() as server:
        assert main([*command, "--failed", "--alert", server.url]) == 0
    assert store.is_done(second)
    assert [each["kind"] for each in server.posted] == ["ended"]


def test_schema_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["additionalProperties"] is False
