"""Tests see no GPU and no cluster but their own, unless they are told to."""

import os
import subprocess
import sys

import pytest
import torch

from tests.support.environment import GPU_ALLOWED, gpu_allowed, reason_without_gpu, variables_for_tests


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


def test_no_cluster_of_the_user_is_joined() -> None:
    assert "RAY_ADDRESS" not in os.environ
    assert "RAY_API_SERVER_ADDRESS" not in os.environ


def test_a_test_of_a_gpu_is_skipped_with_the_variable_that_shows_one() -> None:
    assert reason_without_gpu({}) == "needs a GPU, which PORTAL_TEST_GPU=1 shows"
    assert reason_without_gpu({GPU_ALLOWED: "1"}) is None


@pytest.mark.gpu
def test_the_gpu_that_is_allowed_is_there() -> None:
    assert torch.cuda.is_available()
