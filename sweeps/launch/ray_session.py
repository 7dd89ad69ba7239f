"""`ray_session`: the Ray that a study runs on, our own local one or the cluster that RAY_ADDRESS names."""

import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from portal.config import DeviceKind
from portal.device import usable_cores
from portal.frozen import content_key
from portal.messages import one_line, refusal
from portal.storage.paths import Folder, local_place
from sweeps.launch.executors import Resources, Wanted
from sweeps.launch.terminal import streams_to, termination_interrupts
from sweeps.planning.devices import FoundGpu, find_device, find_gpu, smallest_gpu

RAY_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_worker_niceness": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTORCH_ALLOC_CONF": "expandable_segments:True",
    "MALLOC_ARENA_MAX": "1",
}
"""Quick health checks, no noise, an interrupt that surfaces, workers as urgent as their driver, blocks of GPU
memory that grow (steps of ever new shapes would leave holes in others), and one heap for all threads of a
process: a worker trains in one that is not the main one."""
OBJECT_STORE_BYTES = 300_000_000
_LONGEST_SOCKET, _MOST_BYTES = "dash_MetricsHead", 107
"""Of the sockets in a session's folder, and the most bytes that Linux takes as the path of one."""
_SHORT = Path("/tmp")
POLL_S = 1.0
"""Seconds between two looks at a cluster whose GPUs are still coming."""


@contextmanager
def ray_session(out: Folder, console: Console, wanted: Wanted) -> Iterator[Resources]:
    """What a running Ray has: the one of this process, the cluster at RAY_ADDRESS, or a private local one.

    On a cluster it waits until all `wanted` GPUs have joined; ValueError where this machine has fewer, and
    where torch can use none of a node's. Only a Ray started here is stopped at the end. Inside, SIGTERM
    interrupts like Ctrl-C, and what Ray prints goes to `out/logs/ray.log`.
    """
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        with _found(wanted, console) as found:
            yield found
        return
    with streams_to(local_place(out) / "logs" / "ray.log", console):
        try:
            _start(out)
            with termination_interrupts(), _found(wanted, console) as found:
                yield found
        finally:
            ray.shutdown()
            _remove_scratch(out)


def _start(out: Folder) -> None:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        # As this process has them: what the user has set there holds on the cluster, too.
        environment = {"env_vars": {name: os.environ[name] for name in RAY_ENVIRONMENT}, **quoted_python()}
        ray.init(address, log_to_driver=False, logging_level="ERROR", runtime_env=environment)
        return
    _remove_scratch(out)
    scratch = tempfile.mkdtemp(prefix=_scratch_prefix(out), dir=_place_of_scratch(out))
    try:
        ray.init(
            address="local",
            include_dashboard=True,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=OBJECT_STORE_BYTES,
            num_cpus=None if torch.cuda.is_available() else usable_cores(),  # Ray counts all
            _temp_dir=scratch,
            runtime_env=quoted_python(),
        )
    except Exception as error:  # Ray raises the bare class where its own processes do not come up
        if type(error) is not Exception:
            raise
        reason = one_line(error, most=300)
        advice = "the machine may be too busy: try again; " if "timed out" in reason else ""
        raise OSError(f"Ray did not start ({reason}); {advice}log: {local_place(out) / 'logs'}") from error


def quoted_python() -> dict[str, str]:
    """What a runtime environment needs where this Python's path has a blank: Ray types it without quotes.

    Without it no actor that has variables of its own starts, as those of Tune and Train do; Ray tries without
    end.
    """
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}


def _place_of_scratch(out: Folder) -> Path:
    """The temporary folder that this process has, or /tmp where its path is too long for Ray's sockets.

    OSError where nothing can be written there: Ray would wait a minute for its sockets, and name no cause.
    """
    own = Path(tempfile.gettempdir())
    session = f"{_scratch_prefix(out)}12345678/session_2026-12-01_00-00-00_000000_{os.getpid()}"
    excess = len(os.fsencode(own / session / "sockets" / _LONGEST_SOCKET)) - _MOST_BYTES
    if excess <= 0:
        return own
    if not os.access(_SHORT, os.W_OK):
        raise OSError(
            f"Ray did not start: the path of the temporary folder {own} is {excess} bytes too long for its "
            f"sockets, and {_SHORT} cannot be written; set TMPDIR to a folder with a shorter path"
        )
    return _SHORT


def _scratch_prefix(out: Folder) -> str:
    """Name prefix of Ray's scratch folder, whose path must be short for its sockets.

    It hashes the output folder, so that the next launch can delete what a killed driver left.
    """
    return f"portal-ray-{content_key(str(out.resolve()))[:8]}-"


def _remove_scratch(out: Folder) -> None:
    for place in {Path(tempfile.gettempdir()), _SHORT}:
        for folder in place.glob(f"{_scratch_prefix(out)}*"):
            shutil.rmtree(folder, ignore_errors=True)


def nodes_refusing(check: Callable[[], object], device: DeviceKind) -> dict[str, str]:
    """What the ValueError says that `check` raises, by the hosts of the running Ray where it raises one.

    Those that take workers on `device` are asked; nodes that join later are not.
    """
    nodes = _worker_nodes(device)
    if len(nodes) == 1 and not os.environ.get("RAY_ADDRESS"):
        answers = [refusal(check)]
    else:
        answers = ray.get([_ask.options(scheduling_strategy=_on(node)).remote(check) for node in nodes])
    found = zip(nodes, answers, strict=True)
    return {node["NodeManagerHostname"]: said for node, said in found if said is not None}


_ask = ray.remote(num_cpus=0)(refusal)
_look_at_gpus = ray.remote(num_cpus=0, max_calls=1)(find_gpu)
"""Its process ends, and gives back what it took of the GPU."""


def _gpus_found(console: Console) -> list[FoundGpu | None]:
    """The smallest GPU of each node for workers on GPUs; None, which is said, where it is not known.

    ValueError where torch finds none.
    """
    nodes = _worker_nodes("cuda")
    looks = [_look_at_gpus.options(scheduling_strategy=_on(node)).remote() for node in nodes]
    found: list[FoundGpu | None] = []
    for node, look in zip(nodes, looks, strict=True):
        host = node["NodeManagerHostname"]
        try:
            gpu = ray.get(look)
        except RayError as error:
            console.print(f"device: plans do not know the GPUs of {host} ({one_line(error, most=300)})")
            found.append(None)
            continue
        if gpu is None:
            raise ValueError(
                f"{host}: Ray counts GPUs, and torch can use none; `portal doctor` there says why"
            )
        found.append(gpu)
    return found


def _on(node: dict[str, Any]) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)


def _worker_nodes(device: DeviceKind) -> list[dict[str, Any]]:
    """The living nodes that have a CPU for a worker, and a GPU where it needs one."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    return [node for node in nodes if device != "cuda" or node["Resources"].get("GPU", 0) > 0]


@contextmanager
def _found(wanted: Wanted, console: Console) -> Iterator[Resources]:
    """What there is of the wanted kind, as soon as that is enough.

    A cluster's autoscaler, if it has one, is asked for the GPUs, and to keep them until the block ends.
    """
    gpus = () if wanted.device == "cpu" else _gpus_of_nodes()
    if sum(gpus) >= wanted.num_gpus:
        yield _describe_cluster(gpus, console)
        return
    if not os.environ.get("RAY_ADDRESS"):
        raise ValueError(
            f"{wanted.num_gpus} GPUs are wanted, and Ray finds {sum(gpus)} on this machine; leave --gpus and "
            "device out, or name a cluster as RAY_ADDRESS"
        )
    try:
        yield _describe_cluster(_wait_for_gpus(wanted.num_gpus, console), console)
    finally:
        request_resources(bundles=[])  # else the autoscaler would hold the nodes for ever


def _wait_for_gpus(count: int, console: Console) -> tuple[int, ...]:
    """The GPUs of each node that has any, as soon as they are so many."""
    said = -1
    while sum(gpus := _gpus_of_nodes()) < count:
        request_resources(bundles=[{"GPU": 1}] * count)  # again and again: another driver's replaces it
        if sum(gpus) != said:
            said = sum(gpus)
            others = _gpus_without_cpus()
            beside = f"; {others} more are on nodes without CPUs for workers" if others else ""
            console.print(f"waiting for GPUs: {said} of {count} have joined the cluster{beside}")
        time.sleep(POLL_S)
    return gpus


def _gpus_of_nodes() -> tuple[int, ...]:
    """Whole GPUs of each living node that has any, and a CPU for a worker."""
    found = [int(node["Resources"]["GPU"]) for node in _worker_nodes("cuda")]
    return tuple(gpus for gpus in found if gpus >= 1)


def _gpus_without_cpus() -> int:
    """Those of nodes on which no worker has room: of a head that was started with no CPUs."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(int(each.get("GPU", 0)) for each in resources if each.get("CPU", 0) < 1)


def _describe_cluster(gpus: tuple[int, ...], console: Console) -> Resources:
    """What lanes can run on: these GPUs, about which nodes are asked, or the CPUs where there are none."""
    if gpus:
        free = int(ray.available_resources().get("GPU", 0)) - _gpus_without_cpus()
        if free < sum(gpus):
            console.print(f"device: {free} of {sum(gpus)} GPUs are free now")
        return Resources(gpus, "cuda", smallest_gpu(_gpus_found(console)), 1.0)
    cpus = tuple(int(node["Resources"]["CPU"]) for node in _worker_nodes("cpu"))
    if not cpus:
        raise ValueError("the Ray cluster has no CPU to run on")
    return Resources(cpus, "cpu", None if os.environ.get("RAY_ADDRESS") else find_device("cpu"))
