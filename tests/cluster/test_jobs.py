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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeps.launch.driver import run_study
from sweeps.launch.ray_session import OBJECT_STORE_BYTES, RAY_ENVIRONMENT
from sweeps.study.expand import load_study
from tests.support.command_line import Ended, in_new_process
from tests.support.environment import free_port
from tests.support.studies import TINY, assert_same, silent, tables_of, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Guarded:
    """A running cluster: its dashboard, its GCS, its token, and the environment of who may use it."""

    dashboard: str
    address: str
    token: str
    environment: dict[str, str]

    def portal(self, *lines: list[str], token: str | None = None) -> list[Ended]:
        """How commands end in one process, which reads Ray's authentication once."""
        environment = {**self.environment, "RAY_AUTH_TOKEN": token or self.token}
        return in_new_process([["cluster", *line] for line in lines], environment=environment)

    def submit(self, study: str | Path, out: Path, *more: str) -> list[str]:
        options = ("--address", self.dashboard, "--out", str(out), "--executor", "plain", *more)
        return ["submit", str(study), *options]

    def log(self, job: str) -> list[str]:
        return ["logs", job, "--address", self.dashboard, "--follow"]


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    token, folder = secrets.token_hex(32), Path(tempfile.mkdtemp(prefix="pr-", dir="/tmp"))
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
        "ray-client-server-port": free_port(),
        "node-ip-address": "127.0.0.1",
        "num-cpus": 2,
        "object-store-memory": OBJECT_STORE_BYTES,
        "temp-dir": folder,
    }
    own = folder / "venv"  # a node starts no job where the path of its own Python has a blank
    own.symlink_to(sys.prefix)
    python = [str(own / "bin" / "python"), "-m", "ray.scripts.scripts"]
    command = [
        *python,
        "start",
        "--head",
        "--block",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    with (folder / "start.log").open("w") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        for each, what in ((dashboard_port, "the dashboard"), (agent_port, "the agent, which takes jobs")):
            wait_for(lambda port=each: head.poll() is not None or listens(port), what)
        assert head.poll() is None, (folder / "start.log").read_text()
        yield Guarded(f"http://127.0.0.1:{dashboard_port}", f"127.0.0.1:{port}", token, environment)
    finally:
        os.killpg(head.pid, signal.SIGKILL)  # asked to end, it gives its workers half a minute
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


OWN = """
name: own
tasks: [own/routing.jsonl]
targets: [mini-qwen3-xs]
seeds: [0]
methods:
  base: {}
  lora: {size: 4, train: {epochs: 1}}
"""


def test_a_study_and_its_task_files_travel_to_the_cluster_its_log_and_tables_come_back_and_faults_are_lines(
    guarded: Guarded, tmp_path: Path
) -> None:
    out, path = tmp_path / "out", tmp_path / "own.yaml"
    (tmp_path / "own").mkdir()
    rows = [
        {"prompt": f"{n}?", "choices": ["left", "right"], "gold": n % 2, "split": split}
        for n, split in enumerate(["train", "validation", "test"] * 4)
    ]
    (tmp_path / "own" / "routing.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path.write_text(OWN)
    study, wait = load_study(path), ["wait", "--address", guarded.address, "--timeout", "1", "--nodes"]

    unwritable, done, there, missing = guarded.portal(
        guarded.submit("demo", Path("/proc/portal")),
        guarded.submit(path, out, "--follow", "--tracker", "tensorboard"),
        [*wait, "1"],
        [*wait, "2"],
    )
    job = unwritable.out.strip()
    (log,) = guarded.portal(guarded.log(job))
    (refused,) = guarded.portal(guarded.submit("demo", tmp_path / "refused"), token="0" * 64)

    assert done.code == 0, done.out + done.err
    assert "study own: 2 of 2 runs done, 2 trained now" in done.out
    run_study(study, tmp_path / "alone", executor="local", console=silent())
    assert_same(tables_of(study, out), tables_of(study, tmp_path / "alone"))
    assert {path.name for path in (out / "trackers" / "tensorboard").iterdir()} == set(study.by_key)
    written = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    assert not any(guarded.token.encode() in data for data in [*written, done.out.encode()])
    assert log.code == 3
    assert "portal: /proc/portal" in log.out
    assert log.err == f"portal: job {job}: failed\n"
    assert refused.code == 2
    (line,) = refused.err.splitlines()
    assert line.startswith(f"portal: {guarded.dashboard}: it asks for a token")
    assert (there.code, there.out) == (0, "1 of 1 nodes\n"), there.err
    assert missing.code == 2
    assert "1 of 2 nodes have joined after 1 s" in missing.err


@pytest.mark.chaos
def test_a_stopped_job_continues_when_it_is_submitted_again(
    guarded: Guarded, tmp_path: Path, study_path: Path
) -> None:
    study_path.write_text(TINY.replace("epochs: 2", "epochs: 40"))
    out = tmp_path / "out"
    (submitted,) = guarded.portal(guarded.submit(study_path, out))
    first = submitted.out.strip()
    wait_for(lambda: list(out.glob("runs/*/DONE.json")), "a finished run", patience_s=60)

    stopped, again = guarded.portal(
        ["stop", first, "--address", guarded.dashboard], guarded.submit(study_path, out, "--follow")
    )

    assert stopped.out == f"{first}: stopped\n", stopped.err
    assert again.code == 0, again.out + again.err
    assert "9 of 9 runs done" in again.out
    assert "9 trained now" not in again.out
