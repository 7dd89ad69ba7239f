"""The Slurm script, run by bash on this machine; srun and scontrol do what Slurm's do on one node."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cluster.render import ClusterSettings, render
from sweeps.launch.ray_session import RAY_ENVIRONMENT
from sweeps.study.expand import Study, load_study
from tests.support.studies import TINY, wait_for

SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> "$REQUEUED"; fi
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Cluster files take no folder with a blank in its path."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a job on one node."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        **os.environ,
        **RAY_ENVIRONMENT,
        "PATH": path,
        "PORTAL_CHECKPOINT_S": "0.2",
        "SLURM_JOB_ID": str(random.randrange(1, 20000)),
        "SLURM_JOB_NODELIST": "node[1]",
        "SLURM_JOB_NUM_NODES": "1",
        "HOME": str(tmp_path),
        "REQUEUED": str(tmp_path / "requeued"),
    }


def start(script: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """The script as a job of its own process group, in its own folder."""
    with script.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            ["bash", str(script)],
            cwd=script.parent,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def end(job: subprocess.Popen[bytes], script: Path, environment: dict[str, str]) -> str:
    """What the job printed; then its processes are gone, as Slurm sees to it."""
    job.wait(timeout=300)
    with suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL)
    shutil.rmtree(f"/tmp/ray-{environment['SLURM_JOB_ID']}", ignore_errors=True)
    return script.with_suffix(".log").read_text()


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_job_near_its_time_limit_is_requeued_and_continues(slurm: dict[str, str], tmp_path: Path) -> None:
    study_path, out = tmp_path / "tiny.yaml", tmp_path / "out"
    study_path.write_text(TINY.replace("epochs: 2", "epochs: 60"))
    study: Study = load_study(study_path)
    script = tmp_path / "job.sh"
    text = render("slurm", ClusterSettings(study=str(study_path), nodes=1, out=str(out), data=str(tmp_path)))
    assert text.count("--gpus 8") == 1
    script.write_text(text.replace("--gpus 8", "--device cpu"))  # this machine has none to wait for

    first = start(script, slurm)
    wait_for(lambda: list(out.glob("runs/*/DONE.json")) or first.poll() is not None, "a finished run")
    first.send_signal(signal.SIGUSR1)
    printed = end(first, script, slurm)
    done = len(list(out.glob("runs/*/DONE.json")))

    assert first.returncode == 0, printed
    assert Path(slurm["REQUEUED"]).read_text() == f"requeue {slurm['SLURM_JOB_ID']}\n"
    assert 0 < done < len(study.runs)
    assert not list(tmp_path.glob("**/.ray-token-*"))
    second = start(script, slurm)
    printed = end(second, script, slurm)
    runs = len(study.runs)
    assert second.returncode == 0, printed
    assert f"{runs} of {runs} runs done, {runs - done} trained now" in printed


@pytest.mark.slow
@pytest.mark.parametrize(("waits", "out"), [("sleep 60", None), ("true", "s3://bucket/folder")])
def test_a_head_that_does_not_start_ends_the_job_and_leaves_no_token_or_folder_of_a_store(
    waits: str, out: str | None, slurm: dict[str, str], tmp_path: Path
) -> None:
    ray, script = tmp_path / "bin" / "ray", tmp_path / "job.sh"
    ray.write_text(f'#!/bin/bash\nif [ "$1" = start ]; then {waits}; fi\nexit 1\n')
    ray.chmod(0o755)
    text = render("slurm", ClusterSettings(study="demo", nodes=1, out=out or str(tmp_path / "out")))
    assert "SECONDS + 300" in text
    script.write_text(text.replace("SECONDS + 300", "SECONDS + 1"))

    job = start(script, slurm)
    printed = end(job, script, slurm)

    assert job.returncode == 1
    assert "portal: Ray's head did not start on 127.0.0.1" in printed
    assert not list(tmp_path.glob("**/.ray-token-*"))
    assert not (tmp_path / "s3:").exists()
    assert ("PORTAL_DATA" in text) == (out is None)
