"""A study on a cluster of several real raylets: nodes die and join, workers die, the tables stay the same."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sweeps.launch.driver import run_study
from sweeps.launch.ray_session import OBJECT_STORE_BYTES, RAY_ENVIRONMENT
from sweeps.store.run_store import RunStore
from sweeps.store.session import read_progress
from sweeps.study.expand import Study, load_study
from tests.support.counts import CHAOS
from tests.support.environment import free_port, start_patiently
from tests.support.studies import COMMAND, TINY, assert_same, silent, tables_of, wait_for

ROOM, START_S = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", 5.0
"""For how long Ray Train waits for the room of a worker group."""
NODE = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES}


@pytest.fixture
def study_path(tmp_path: Path) -> Path:
    """Nine runs that take long enough to be disturbed."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("epochs: 2", "epochs: 24"))
    return path


def start_cluster(num_nodes: int) -> Any:
    from ray.cluster_utils import Cluster

    dashboard = {"include_dashboard": True, "dashboard_port": free_port()}  # another Ray may have 8265
    made = Cluster()
    try:
        made.add_node(**NODE, **dashboard)
        for _ in range(num_nodes - 1):
            made.add_node(**NODE)
    except BaseException:
        made.shutdown()
        raise
    return made


@pytest.fixture(params=[2])
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """So many nodes, one CPU each, as processes of this machine; the first is the head."""
    with tempfile.TemporaryDirectory(prefix="pr-", dir="/tmp") as folder:
        own = {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": folder, ROOM: str(START_S)}
        for name, value in {**RAY_ENVIRONMENT, **own}.items():
            monkeypatch.setenv(name, value)
        Path(folder, "ray").mkdir()
        made = start_patiently(partial(start_cluster, request.param), lambda: None)
        yield made
        made.shutdown()


def start(study: Path, out: Path, address: str, executor: str = "plain") -> subprocess.Popen[str]:
    environment = {**os.environ, "RAY_ADDRESS": address, "PORTAL_CHECKPOINT_S": "0.2"}
    options = ["sweep", "run", str(study), "--out", str(out), "--executor", executor]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *options], env=environment, stderr=subprocess.PIPE, text=True
    )


WAITING = """
import sys
from pathlib import Path
from rich.console import Console
from sweeps.launch.ray_session import ray_session
from sweeps.launch.executors import Wanted
console = Console(width=200)
with ray_session(Path(sys.argv[1]), console, Wanted("cuda", 3)) as found:
    console.print(f"{sum(found.nodes)} on {found.device}")
"""


def lanes_at_work(store: RunStore) -> list[int]:
    return [lane["pid"] for lane in read_progress(store.out) if "pid" in lane]


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_study_on_two_nodes_loses_one_gets_another_for_whose_gpus_a_launch_waits_and_ends_as_on_one(
    cluster: Any, study_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # else Ray counts what is hidden here
    study, out = load_study(study_path), tmp_path / "out"
    store = RunStore(out)
    driver = start(study_path, out, cluster.address)
    waiting = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(tmp_path / "waiting")],
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(lanes_at_work(store)) == 2 or driver.poll() is not None, "two lanes at work")
    wait_for(lambda: list(out.glob("packs/*/state/*")) or driver.poll() is not None, "a checkpoint")
    assert driver.poll() is None, driver.communicate()[1]
    (lost,) = cluster.worker_nodes

    cluster.remove_node(lost, allow_graceful=False)
    assert waiting.stdout is not None
    told = waiting.stdout.readline()
    cluster.add_node(**NODE, num_gpus=3)
    _, log = driver.communicate()
    rest, error = waiting.communicate()

    assert driver.returncode == 0, log
    assert_same(tables_of(study, out), unbroken_tables(study, tmp_path))
    assert told == "waiting for GPUs: 0 of 3 have joined the cluster\n"
    if waiting.returncode == 0:  # this machine has a GPU, if fewer than Ray was told
        assert rest == "3 on cuda\n"
    else:
        assert "Ray counts GPUs, and torch can use none; `portal doctor` there says why" in error


HOLDING = """
import sys
import ray
from ray.util.placement_group import placement_group
ray.init(sys.argv[1], log_to_driver=False)
ray.get(placement_group([{"CPU": 0.95}] * 2, strategy="STRICT_SPREAD").ready())
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.chaos
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("cluster", [3], indirect=True)
def test_lanes_wait_for_room_that_others_hold(cluster: Any, study_path: Path, tmp_path: Path) -> None:
    """Train gives up after some seconds, twice; a lane asks again."""
    study_path.write_text(TINY.replace("epochs: 2", "epochs: 400, evaluate: last_epoch"))
    study, out = load_study(study_path), tmp_path / "out"
    store = RunStore(out)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDING, cluster.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    driver = start(study_path, out, cluster.address, executor="train")

    wait_for(lambda: len(lanes_at_work(store)) == 1 or driver.poll() is not None, "a lane at work")
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 4 * START_S or driver.poll() is not None, "lanes that wait")
    assert len(lanes_at_work(store)) == 1
    other.stdin.close()
    wait_for(lambda: len(lanes_at_work(store)) > 1 or driver.poll() is not None, "more lanes at work")
    assert driver.poll() is None, driver.communicate()[1]
    _, log = driver.communicate()

    assert other.wait() == 0
    assert driver.returncode == 0, log
    assert_same(tables_of(study, out), unbroken_tables(study, tmp_path))


def kill_worker(cluster: Any, store: RunStore) -> int:
    """kill -9 of a lane's process; how many there were."""
    for pid in lanes_at_work(store):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return 1
    return 0


def replace_node(cluster: Any, store: RunStore) -> int:
    """kill -9 of a raylet with all that runs below it, and a new node."""
    lost = sorted(cluster.worker_nodes, key=lambda node: node.node_id)[0]
    cluster.remove_node(lost, allow_graceful=False)
    cluster.add_node(**NODE)
    return 1


@pytest.mark.chaos
@pytest.mark.timeout(1200 * max(1, CHAOS))
@pytest.mark.parametrize("cluster", [3], indirect=True)
@pytest.mark.parametrize(
    ("faults", "every_s", "epochs"),
    [([kill_worker], 3.0, 60), ([kill_worker, replace_node], 20.0, 1500)],
    ids=["workers every 3 s", "a worker or a node every 20 s"],
)
def test_what_is_killed_again_and_again_costs_time_only(
    faults: list[Callable[[Any, RunStore], int]],
    every_s: float,
    epochs: int,
    cluster: Any,
    study_path: Path,
    tmp_path: Path,
) -> None:
    train = f"epochs: {epochs}" + (", evaluate: last_epoch" if epochs > 100 else "")
    study_path.write_text(TINY.replace("epochs: 2", train))
    study, out = load_study(study_path), tmp_path / "out"
    store, killed, turn, launches = RunStore(out), [0] * len(faults), 0, 0
    driver, due = None, time.monotonic() + every_s
    while driver is None or driver.returncode != 0:
        launches += 1
        driver = start(study_path, out, cluster.address)
        while driver.poll() is None:
            if time.monotonic() >= due:
                killed[turn % len(faults)] += faults[turn % len(faults)](cluster, store)
                turn, due = turn + 1, time.monotonic() + every_s
            time.sleep(0.1)
        _, log = driver.communicate()
        assert driver.returncode in (0, 3), log  # runs were given up for now: a launch again takes them up
        assert launches < 10, log

    assert min(killed) >= 2
    assert_same(tables_of(study, out), unbroken_tables(study, tmp_path))


def unbroken_tables(study: Study, tmp_path: Path) -> Any:
    assert run_study(study, tmp_path / "alone", executor="local", console=silent()).is_done
    return tables_of(study, tmp_path / "alone")
