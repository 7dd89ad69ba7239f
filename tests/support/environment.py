"""The environment that the tests run in: no GPU, no Ray but their own, one thread a process."""

import os
import socket
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")
GPU_ALLOWED = "PORTAL_TEST_GPU"
"""The variable that shows the tests this machine's GPU when it is 1."""


def gpu_allowed(environment: Mapping[str, str] = os.environ) -> bool:
    return environment.get(GPU_ALLOWED) == "1"


def reason_without_gpu(environment: Mapping[str, str] = os.environ) -> str | None:
    """Why a test of a GPU does not run, or None where it does."""
    return None if gpu_allowed(environment) else f"needs a GPU, which {GPU_ALLOWED}=1 shows"


def variables_for_tests(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to set before torch is imported.

    A GPU is hidden, for tests compare to the last bit, which a GPU does not allow. A launch has one thread:
    sums of several threads differ in the last bit, and where other processes use the cores too, threads that
    wait for each other take four times as long. Threads of a test that has two sleep while they wait, as the
    command's do: with busy cores such a test takes a tenth of the time. Ray has time to start its dashboard,
    and kills no worker when others fill the machine's memory.
    """
    variables = {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "1000",
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
        "RAY_memory_monitor_refresh_ms": "0",
    }
    return variables if gpu_allowed(environment) else variables | {"CUDA_VISIBLE_DEVICES": ""}


def start_patiently(start: Callable[[], T], shut_down: Callable[[], None], *, attempts: int = 3) -> T:
    """What `start` returns, tried anew where Ray's processes do not come up in the time that Ray gives them.

    Ray raises a bare Exception or a TimeoutError then. Any other error is raised at once, and so is that of
    the last attempt.
    """
    for _ in range(attempts - 1):
        try:
            return start()
        except Exception as error:
            if type(error) not in (Exception, TimeoutError):
                raise
            print(f"Ray did not start: {error}")
            shut_down()
    return start()


def free_port() -> int:
    """A port of this machine that no process listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
