"""Tests see no GPU, no cluster but their own and no variable of the shell, unless they are told to."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.support.environment import (
    GPU_ALLOWED,
    STATED,
    gpu_allowed,
    reason_without_gpu,
    variables_for_tests,
)

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("value", [None, "", "0", "true"])
def test_a_gpu_is_hidden_by_everything_but_the_number_one(value: str | None) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "0,1"} | ({} if value is None else {GPU_ALLOWED: value})

    assert not gpu_allowed(environment)
    assert variables_for_tests(environment)["CUDA_VISIBLE_DEVICES"] == ""


def test_a_gpu_that_is_allowed_is_left_as_the_machine_shows_it() -> None:
    assert gpu_allowed({GPU_ALLOWED: "1"})
    assert "CUDA_VISIBLE_DEVICES" not in variables_for_tests({GPU_ALLOWED: "1"})


@pytest.mark.skipif(gpu_allowed(), reason=f"{GPU_ALLOWED}=1 shows the GPU")
def test_neither_this_process_nor_one_that_it_starts_sees_a_gpu() -> None:
    program = "import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert child.stdout.strip() == "''"
    assert not torch.cuda.is_available()


OF_A_SHELL = {
    "HF_HUB_OFFLINE": "1",
    "HF_TOKEN": "secret",
    "RAY_ADDRESS": "10.0.0.1:6379",
    "RAY_API_SERVER_ADDRESS": "http://10.0.0.1:8265",
    "PORTAL_DATA": "/nowhere",
    "OMP_NUM_THREADS": "64",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "https_proxy": "http://10.0.0.1:3128",
    "LC_NUMERIC": "de_DE.UTF-8",
    "TZ": "America/New_York",
    "NO_COLOR": "1",
    "COLUMNS": "40",
}


def test_variables_of_the_shell_do_not_reach_a_test() -> None:
    stated = variables_for_tests({"PATH": "/bin", **OF_A_SHELL})

    assert stated == variables_for_tests({"PATH": "/bin"})
    assert stated["PATH"] == "/bin"
    assert not {*OF_A_SHELL} & {*stated} - {*STATED}
    assert {name: os.environ.get(name) for name in STATED} == STATED
    assert time.localtime(0).tm_gmtoff == 5.5 * 3600


@pytest.mark.slow
def test_goldens_and_what_asks_a_hub_pass_offline_on_a_cpu_without_bf16() -> None:
    """Whatever the machine and the shell that these tests were started on."""
    tests = ["tests/goldens", "tests/portal/bases/test_files.py", "tests/portal/bases/test_precision.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    shell = {**os.environ, **OF_A_SHELL, "PORTAL_CPU_BF16": "0", "ATEN_CPU_CAPABILITY": "avx2"}

    child = subprocess.run(command, cwd=ROOT, env=shell, capture_output=True, text=True, check=False)

    assert child.returncode == 0, child.stdout + child.stderr
    assert "PORTAL_CPU_BF16=0 denies it" in child.stdout  # of tests that were skipped


def test_a_test_of_a_gpu_is_skipped_with_the_variable_that_shows_one() -> None:
    assert reason_without_gpu({}) == "needs a GPU, which PORTAL_TEST_GPU=1 shows"
    assert reason_without_gpu({GPU_ALLOWED: "1"}) is None


@pytest.mark.gpu
def test_the_gpu_that_is_allowed_is_there() -> None:
    assert torch.cuda.is_available()
