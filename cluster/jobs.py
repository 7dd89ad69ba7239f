"""Studies as Ray jobs on a running cluster, through the dashboard's job API.

Ray's client sends the token that RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token hold; nothing
secret is put into a job's runtime environment, which the dashboard shows.
"""

import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

POLL_S = 1.0
STOP_S = 120.0
"""How long a stopped driver may take to leave its folder in order."""
_OVERRIDING = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # Ray's client takes them before its own argument
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


def submit(
    address: str,
    study: str,
    *,
    files: Mapping[str, bytes],
    out: str,
    executor: str,
    name: str,
    gpus: int = 0,
    trackers: Sequence[str] = (),
) -> str:
    """Start `portal sweep run STUDY` on the cluster at `address`, in a folder with `files`; the job's id.

    ValueError for an output folder that no other node would see, and when the cluster does not answer or does
    not know the token.
    """
    if not out.startswith("/") and "://" not in out:
        raise ValueError(
            f"--out {out}: a relative path lies in the job's own temporary folder; name an absolute path on "
            "the cluster's shared storage, or a URL like s3://bucket/folder"
        )
    command = ["portal", "sweep", "run", study, "--out", out, "--executor", executor, "--wait"]
    command += ["--gpus", str(gpus)] if gpus else []
    command += [word for tracker in trackers for word in ("--tracker", tracker)]
    with _client(address) as client, tempfile.TemporaryDirectory(prefix="portal-job-") as folder:
        for place, content in files.items():
            path = Path(folder, place)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        environment = {"working_dir": folder} if files else {}
        return str(
            client.submit_job(
                entrypoint=shlex.join(command), runtime_env=environment, metadata={"portal": name}
            )
        )


def logs(address: str, job: str, *, follow: bool, write: Callable[[str], None]) -> str:
    """Write what the job has printed, and with `follow` all it prints until it ends; its status then.

    PENDING, RUNNING, SUCCEEDED, FAILED (the driver's exit code was not 0) or STOPPED.
    """
    written = 0
    with _client(address) as client:
        while True:
            state = str(client.get_job_status(job).value)
            text = client.get_job_logs(job)
            write(text[written:])
            written = len(text)
            if not follow or state in _ENDED:
                return state
            time.sleep(POLL_S)


def stop(address: str, job: str) -> str:
    """Stop the job and wait until it has; its status. Nothing finished is lost."""
    with _client(address) as client:
        client.stop_job(job)
        give_up = time.monotonic() + STOP_S
        while (state := str(client.get_job_status(job).value)) not in _ENDED:
            if time.monotonic() > give_up:
                raise ValueError(f"job {job} is still {state} {STOP_S:.0f} s after it was asked to stop")
            time.sleep(POLL_S)
        return state


def wait_for_nodes(address: str, nodes: int, *, timeout_s: float, say: Callable[[str], None]) -> None:
    """Return when `nodes` nodes have joined the cluster; ValueError after `timeout_s` seconds."""
    import ray

    ray.init(address, log_to_driver=False, logging_level="ERROR")
    try:
        give_up = time.monotonic() + timeout_s
        alive = -1
        while True:
            before, alive = alive, sum(node["Alive"] for node in ray.nodes())
            if alive != before:
                say(f"{alive} of {nodes} nodes")
            if alive >= nodes:
                return
            if time.monotonic() > give_up:
                raise ValueError(f"{address}: {alive} of {nodes} nodes have joined after {timeout_s:.0f} s")
            time.sleep(POLL_S)
    finally:
        ray.shutdown()


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """Ray's job client for `address` and no other cluster; its errors become ValueErrors of one line."""
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        with _unset(*_OVERRIDING):
            client = JobSubmissionClient(address)
        yield client
    except AuthenticationError:
        raise ValueError(
            f"{address}: it asks for a token that is not the one of RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or "
            "~/.ray/auth_token; set one of them, and RAY_AUTH_MODE=token"
        ) from None
    except (ConnectionError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{address}: {reason}") from None


@contextmanager
def _unset(*variables: str) -> Iterator[None]:
    """The environment without these variables while the block lasts."""
    before = {name: os.environ.pop(name) for name in variables if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
