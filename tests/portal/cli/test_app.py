"""The `portal` command itself: version, help, and exit codes in one place."""

import os
import subprocess
import sys

import pytest
import torch

import portal
import portal.cli
from portal.cli import exit_codes, main
from sweeps.store.provenance import code_state, describe_code


def test_the_version_and_the_help_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert [main(["--version"]), main(["--help"]), main([])] == [0, 0, 0]

    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"{portal.__version__} ({describe_code(code_state())})"
    assert any("sweep" in line for line in others)


WAITING, TURNS, MEMORY = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "PYTORCH_ALLOC_CONF"


def test_waiting_threads_and_gpu_memory_are_settled_before_torch_is_loaded() -> None:
    settings = (WAITING, TURNS, MEMORY)
    kept = {name: value for name, value in os.environ.items() if name not in settings}
    code = (
        "import os, sys; from portal.cli import main; code = main(['--version']); "
        f"print(code, 'torch' in sys.modules, *map(os.environ.get, {settings}))"
    )
    cases: tuple[tuple[dict[str, str], str], ...] = (
        ({}, "passive 1000 expandable_segments:True"),
        ({TURNS: "5"}, "passive 5 expandable_segments:True"),
        ({WAITING: "active", MEMORY: "backend:native"}, "active None backend:native"),
    )
    for given, expected in cases:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=kept | given, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == f"0 False {expected}"


def test_a_gpu_is_not_chosen_by_its_index(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu-check", "--device", "cuda:1"]) == 2

    told = "device 'cuda:1': it is 'cuda'; CUDA_VISIBLE_DEVICES=1 chooses the GPU"
    assert told in capsys.readouterr().err


def test_a_shortage_of_memory_is_a_line_and_an_error_of_the_program_itself_is_shown_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(error: Exception) -> int:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("sweeps.gpu_check.check.check_device", fail)
        return main(["gpu-check", "--device", "cpu"])

    for error in (torch.OutOfMemoryError("Tried to allocate 2 GiB"), MemoryError("2 GiB")):
        assert check(error) == exit_codes.FAILED
        assert capsys.readouterr().err == f"portal: out of memory: {error}\n"
    with pytest.raises(RuntimeError, match="shapes do not match"):
        check(RuntimeError("shapes do not match"))
