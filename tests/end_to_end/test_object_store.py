"""A study in an S3-compatible store: the same tables, one driver, and it goes on after a kill."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import BotoCoreError
from safetensors.torch import load

from portal.cli import main
from portal.results import PREDICTIONS, RESULTS, read_table
from portal.storage.atomic import write_json_atomic
from portal.storage.paths import Folder, files_below, matching, open_folder
from sweeps.launch.driver import run_study
from sweeps.store import lease
from sweeps.store.lease import Fence, InUse, LeaseLost, acquire, has_live_driver, read_holder
from sweeps.store.session import ClaimLost, Session
from sweeps.study.expand import Study
from tests.support.contender import REFUSED, contend
from tests.support.environment import free_port
from tests.support.studies import COMMAND, Interruption, Tables, silent, wait_for

BUCKET = "portal-tests"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server of its own."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y"
    )

    def has_bucket() -> bool:
        assert process.poll() is None, "the server has ended"
        with suppress(BotoCoreError):
            client.create_bucket(Bucket=BUCKET)
            return True
        return False

    wait_for(has_bucket, "the server")
    yield address
    process.terminate()
    process.wait()


@pytest.fixture
def url(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place in the store."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_REGION": "us-east-1",
        "PORTAL_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


def collected(out: Folder) -> tuple[object, object]:
    """The collected tables, results without times."""
    results = read_table(out / "results" / "results.parquet", RESULTS)
    return results.drop_columns(["wall_s"]), read_table(out / "results" / "predictions.parquet", PREDICTIONS)


def weights(out: Folder) -> dict[str, bytes]:
    """Every trained tensor's bytes."""
    return {
        f"{name} {key}": tensor.numpy().tobytes()
        for name, path in files_below(out / "runs").items()
        if name.endswith(".safetensors")
        for key, tensor in load(path.read_bytes()).items()
    }


def launch_with_interruptions(study: Study, out: Folder) -> int:
    """Launch until the study ends, each time up to the fifth checkpoint; the number of interruptions."""
    from sweeps.worker.pack_checkpoint import PackCheckpoint

    save, saved, breaks = PackCheckpoint.save, 0, 0

    def break_off(*arguments: object, **named: bool) -> None:
        nonlocal saved
        saved += 1
        save(*arguments, **named)  # type: ignore[arg-type]
        if saved % 5 == 0:
            raise Interruption

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTAL_CHECKPOINT_S", "1e-9")
        patch.setattr(PackCheckpoint, "save", break_off)
        while breaks < 40:
            try:
                assert run_study(study, out, executor="local", console=silent()).is_done
            except Interruption:
                breaks += 1
            else:
                break
    return breaks


@pytest.mark.slow
def test_an_interrupted_study_ends_as_in_a_folder_and_every_command_works_on_it(
    url: str,
    study_path: Path,
    tiny_study: Study,
    unbroken: tuple[Path, Tables],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, place = open_folder(url), [str(study_path), "--out", url]

    assert 3 <= launch_with_interruptions(tiny_study, out) < 40

    assert weights(out) == weights(unbroken[0])
    for command, code, said in (
        (["sweep", "run", *place, "--executor", "local"], 0, "nothing was left to train"),
        (["sweep", "status", *place], 0, "9 total, 9 done"),
        (["sweep", "collect", *place], 0, f"{url}/results/results.parquet"),
        (["sweep", "fsck", url], 0, " 0 faults"),
        (["sweep", "gc", url], 0, "nothing to delete"),
        (["sweep", "cancel", url], 0, "no driver works here"),
        (["report", url], 2, "name it by --out"),
        (["report", url, "--out", str(tmp_path / "report")], 0, "index.html"),
    ):
        assert main(command) == code
        printed = capsys.readouterr()
        assert said in printed.out + printed.err
    assert collected(out) == (unbroken[1].results, unbroken[1].predictions)
    assert (tmp_path / "report" / "index.html").is_file()

    path = matching(out, "runs/*/predictions.parquet")[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    assert not isinstance(path, Path)
    path.write_bytes(bytes(data))
    assert main(["sweep", "fsck", url]) == 3
    assert f"{path}: altered since the run finished" in capsys.readouterr().err
    assert main(["sweep", "collect", *place]) == 2
    assert "altered since the run finished" in capsys.readouterr().err


@pytest.mark.chaos
def test_a_driver_killed_on_its_own_ray_is_followed_by_one_that_ends_in_the_same_tables(
    url: str, study_path: Path, unbroken: tuple[Path, Tables]
) -> None:
    out = open_folder(url)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"PORTAL_CHECKPOINT_S": "0.1"}
    command = [sys.executable, "-c", COMMAND, "sweep", "run", str(study_path), "--out", url]
    killed = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: matching(out, "packs/*/state/*/manifest.json"), "a checkpoint")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()

    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert finished.returncode == 0, finished.stderr
    assert collected(out) == (unbroken[1].results, unbroken[1].predictions)
    assert weights(out) == weights(unbroken[0])
    assert not matching(out, "packs/*/state")


def test_a_second_driver_is_told_who_holds_the_place_and_a_released_one_is_free(url: str) -> None:
    out = open_folder(url)
    with acquire(out) as held:
        with pytest.raises(InUse, match=f"in use by process {os.getpid()}"):
            acquire(out)
        Fence(out, held.token).check()
        assert has_live_driver(out)
    assert read_holder(out) == {}
    with pytest.raises(LeaseLost):
        Fence(out, held.token).check()


@pytest.mark.slow
@pytest.mark.parametrize("dead", [False, True], ids=["free", "of a dead holder"])
def test_of_many_that_want_the_lease_at_once_one_gets_it(url: str, dead: bool, tmp_path: Path) -> None:
    out = open_folder(url)
    if dead:
        gone = {"host": "here", "pid": 2**22 + 1, "process_start": 1, "token": "old"}
        gone |= {"boot_id": lease.boot_id(), "process_space": str(Path("/proc/self/ns/pid").readlink())}
        write_json_atomic(out / "driver.json", gone)
    context = multiprocessing.get_context("spawn")
    answers = [tmp_path / f"answer-{number}" for number in range(3)]
    together = context.Barrier(len(answers))
    children = [
        context.Process(target=contend, args=(url, together, answers, place)) for place in range(len(answers))
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()

    won = [text for answer in answers if (text := answer.read_text()) != REFUSED]
    assert len(won) == 1
    assert read_holder(out)["token"] == won[0]


def test_a_pack_in_a_store_belongs_to_one_lane_and_to_its_latest_attempt(url: str) -> None:
    session, pack = Session(open_folder(url), "2" * 16), "1" * 16

    first = session.claim(pack, 0, "a")
    assert first is not None
    assert session.claim(pack, 1, "b") is None
    again = session.claim(pack, 0, "c")

    assert again is not None
    again.check()
    with pytest.raises(ClaimLost):
        first.check()
    assert session.claimed_by(0) == [pack]
    assert session.free_claim(pack, "0 0")
    assert session.claim(pack, 1, "b") is not None


def test_a_registry_in_a_store_serves_artifacts_like_a_folder(
    world: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["registry", url, "--add", str(world / "source"), "--add", str(world / "ported")]) == 0
    capsys.readouterr()
    assert main(["registry", url, "--json"]) == 0
    (core,) = json.loads(capsys.readouterr().out)["cores"]
    port = next(each["folder"] for each in core["artifacts"] if each["base"] == "tiny-gemma3")

    adapters = ["adapters", "--registry", url, "--for", "tiny-gemma3", "--tasks", "sums"]
    assert main([*adapters, "--out", str(tmp_path / "adapters")]) == 0
    assert main(["export", str(world / "ported"), "--task", "sums", "--out", str(tmp_path / "a")]) == 0
    assert main(["export", port, "--task", "sums", "--out", str(tmp_path / "b")]) == 0
    assert port == f"{url}/artifacts/{port.rpartition('/')[2]}"
    written = [
        (tmp_path / folder / "adapter_model.safetensors").read_bytes()
        for folder in ("adapters/tiny-gemma3/sums", "a", "b")
    ]
    assert written[0] == written[1] == written[2]

    capsys.readouterr()
    assert main(["inspect", f"{url}/artifacts/none"]) == 2
    assert "no such artifact folder" in capsys.readouterr().err
