"""The environment of the tests: the same on every machine, whatever variables the user's shell has."""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
GPU_ALLOWED = "PORTAL_TEST_GPU"
"""The variable that shows the tests this machine's GPU when it is 1."""
ASKED_OF_TESTS = (GPU_ALLOWED, "PORTAL_TEST_REAL", "PORTAL_SERVE_PYTHON", "PORTAL_CHAOS", "PORTAL_CPU_BF16")
"""Variables that say which tests run, and on what CPU: they stay."""
REMOVED = (
    *("HF_", "HUGGING", "TRANSFORMERS_", "DATASETS_", "TOKENIZERS_", "TORCH_", "PYTORCH_", "RAY_", "PORTAL_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_NUM_", "OPENBLAS_NUM_", "MALLOC_"),
    *("AWS_", "AZURE_", "GOOGLE_", "GCP_", "CLOUDSDK_", "KUBE", "SLURM_", "SKYPILOT_"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("WANDB_", "MLFLOW_", "TRACKIO_", "MPL", "MATPLOTLIB", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
    *("LANG", "LC_", "TZ", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR"),
)
"""How the names, in capitals, of variables begin that change what this project or its libraries do."""
OF_GPUS = ("CUDA_", "NVIDIA_", "NCCL_")
"""The same of GPUs; these stay where the tests are shown one."""
STATED = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "1000",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
    "RAY_memory_monitor_refresh_ms": "0",
    "HF_HOME": str(Path(__file__).parents[2] / ".pytest_cache" / "hub"),
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "LANG": "C",
    "TZ": "Asia/Kolkata",
}
"""What the tests have in their place.

A launch has one thread: sums of several threads differ in the last bit, and where other processes use the
cores too, threads that wait for each other take four times as long. Threads of a test that has two sleep
while they wait, as the command's do: with busy cores such a test takes a tenth of the time. Ray has time to
start its dashboard, and kills no worker when others fill the machine's memory. The hub's cache is empty,
whatever the user has downloaded, and no cloud's credentials are at hand. The time zone is not UTC and not a
whole number of hours from it, and no language is set: code that needs another zone or language fails here.
"""


def gpu_allowed(environment: Mapping[str, str] = os.environ) -> bool:
    return environment.get(GPU_ALLOWED) == "1"


def reason_without_gpu(environment: Mapping[str, str] = os.environ) -> str | None:
    """Why a test of a GPU does not run, or None where it does."""
    return None if gpu_allowed(environment) else f"needs a GPU, which {GPU_ALLOWED}=1 shows"


def variables_for_tests(environment: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the tests on a machine whose shell has this one.

    A GPU is hidden, for tests compare to the last bit, which a GPU does not allow.
    """
    allowed = gpu_allowed(environment)
    removed = REMOVED if allowed else (*REMOVED, *OF_GPUS)
    kept = {
        name: value
        for name, value in environment.items()
        if name in ASKED_OF_TESTS or not name.upper().startswith(removed)
    }
    return kept | STATED | ({} if allowed else {"CUDA_VISIBLE_DEVICES": ""})


def enter_environment() -> None:
    """Give this process, and all that it starts, the environment of the tests; before torch is imported.

    Folders of tests lie below one whose name has a blank and an umlaut.
    """
    wanted = variables_for_tests(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    time.tzset()
    temporary = Path(tempfile.gettempdir()) / f"folders für tests {os.getuid()}"
    temporary.mkdir(exist_ok=True)
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(temporary)


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
