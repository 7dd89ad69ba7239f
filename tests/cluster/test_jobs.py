"""Studies as jobs on a real Ray cluster that asks for its token."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeps.launch.ray_session import OBJECT_STORE_BYTES, RAY_ENVIRONMENT
from sweeps.study.expand import Study
from tests.support.environment import free_port
from tests.support.studies import COMMAND, TINY, Tables, assert_same, tables_of, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Guarded:
    """A running cluster: its dashboard, its GCS, its token, and the environment of who may use it."""

    dashboard: str
    address: str
    token: str
    environment: dict[str, str]

    def portal(self, *arguments: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        """Ray reads its authentication once a process: each command has one of its own."""
        environment = {**self.environment, "RAY_AUTH_TOKEN": token or self.token}
        command = [sys.executable, "-c", COMMAND, "cluster", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def submit(self, study: str, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
        options = ("--address", self.dashboard, "--out", str(out), "--executor", "plain", *more)
        return self.portal("submit", study, *options)

    def log(self, job: str, *more: str) -> subprocess.CompletedProcess[str]:
        return self.portal("logs", job, "--address", self.dashboard, *more)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    token, folder = secrets.token_hex(32), Path(tempfile.mkdtemp(prefix="pr-"))
    port, dashboard_port = free_port(), free_port()
    agent_port = free_port()  # another Ray may have 52365
    environment = {
        "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9",  # --address comes before it
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        **RAY_ENVIRONMENT,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    options = {
        "port": port,
        "dashboard-port": dashboard_port,
        "dashboard-agent-listen-port": agent_port,
        "node-ip-address": "127.0.0.1",
        "num-cpus": 2,
        "object-store-memory": OBJECT_STORE_BYTES,
        "temp-dir": folder,
    }
    command = ["ray", "start", "--head", "--block", *(f"--{name}={value}" for name, value in options.items())]
    with (folder / "start.log").open("w") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    dashboard = f"http://127.0.0.1:{dashboard_port}"
    try:
        wait_for(lambda: head.poll() is not None or answers(dashboard), "the dashboard")
        wait_for(lambda: head.poll() is not None or listens(agent_port), "the agent, which takes jobs")
        assert head.poll() is None, (folder / "start.log").read_text()
        yield Guarded(dashboard, f"127.0.0.1:{port}", token, environment)
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        try:
            head.wait(5)
        except subprocess.TimeoutExpired:  # it gives its workers half a minute
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def answers(dashboard: str) -> bool:
    """Whether it is there, if only to ask for a token."""
    try:
        urllib.request.urlopen(f"{dashboard}/api/version", timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def test_a_study_file_travels_to_the_cluster_and_its_log_and_tables_come_back(
    guarded: Guarded, study_path: Path, tiny_study: Study, unbroken: tuple[Path, Tables], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    done = guarded.submit(str(study_path), out, "--follow", "--tracker", "tensorboard")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "study tiny: 9 of 9 runs done, 9 trained now" in done.stdout
    assert_same(tables_of(tiny_study, out), unbroken[1])
    assert {path.name for path in (out / "trackers" / "tensorboard").iterdir()} == set(tiny_study.by_key)
    written = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    assert not any(guarded.token.encode() in data for data in [*written, done.stdout.encode()])


@pytest.mark.chaos
def test_a_stopped_job_continues_when_it_is_submitted_again(
    guarded: Guarded, tmp_path: Path, study_path: Path
) -> None:
    study_path.write_text(TINY.replace("epochs: 2", "epochs: 40"))
    out = tmp_path / "out"
    first = guarded.submit(str(study_path), out).stdout.strip()
    try:
        wait_for(lambda: list(out.glob("runs/*/DONE.json")), "a finished run", patience_s=60)
    except AssertionError:
        pytest.fail(guarded.log(first).stdout)

    stopped = guarded.portal("stop", first, "--address", guarded.dashboard)
    log = guarded.log(guarded.submit(str(study_path), out).stdout.strip(), "--follow")

    assert stopped.stdout == f"{first}: stopped\n", stopped.stderr
    assert log.returncode == 0, log.stdout + log.stderr
    assert "9 of 9 runs done" in log.stdout
    assert "9 trained now" not in log.stdout


def test_task_files_travel_with_the_study_that_names_them(guarded: Guarded, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    rows = [
        {"prompt": f"{n}?", "choices": ["left", "right"], "gold": n % 2, "split": split}
        for n, split in enumerate(["train", "validation", "test"] * 4)
    ]
    (tmp_path / "own" / "routing.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    study = tmp_path / "own.yaml"
    study.write_text(
        "name: own\ntasks: [own/routing.jsonl]\ntargets: [mini-qwen3-xs]\nseeds: [0]\nmethods: {base: {}}\n"
    )

    done = guarded.submit(str(study), tmp_path / "out", "--follow")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "study own: 1 of 1 runs done" in done.stdout


def test_a_job_that_cannot_write_fails_with_its_line(guarded: Guarded) -> None:
    job = guarded.submit("demo", Path("/proc/portal")).stdout.strip()

    log = guarded.log(job, "--follow")

    assert log.returncode == 3
    assert "portal: /proc/portal" in log.stdout
    assert log.stderr == f"portal: job {job}: failed\n"


def test_without_the_token_nothing_is_submitted(guarded: Guarded, tmp_path: Path) -> None:
    options = ("--address", guarded.dashboard, "--out", str(tmp_path / "out"))

    refused = guarded.portal("submit", "demo", *options, token="0" * 64)

    assert refused.returncode == 2, refused.stderr
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"portal: {guarded.dashboard}: it asks for a token")


def test_waiting_for_nodes_ends_when_they_are_there_or_says_how_many_came(guarded: Guarded) -> None:
    options = ("--address", guarded.address, "--timeout", "2", "--nodes")

    there, missing = (guarded.portal("wait", *options, nodes) for nodes in ("1", "2"))

    assert (there.returncode, there.stdout) == (0, "1 of 1 nodes\n"), there.stderr
    assert missing.returncode == 2
    assert "1 of 2 nodes have joined after 2 s" in missing.stderr
