"""The `portal` command itself: version, help, and exit codes in one place."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import portal
import portal.cli
from portal.cli import exit_codes, main
from sweeps.store.provenance import code_state, describe_code

FOLDER = Path(portal.cli.__file__).parent


def test_the_version_and_the_help_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert [main(["--version"]), main(["--help"]), main([])] == [0, 0, 0]

    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"{portal.__version__} ({describe_code(code_state())})"
    assert any("sweep" in line for line in others)


WAITING, TURNS, MEMORY = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "PYTORCH_ALLOC_CONF"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "passive 1000 expandable_segments:True"),
        ({TURNS: "5"}, "passive 5 expandable_segments:True"),
        ({WAITING: "active", MEMORY: "backend:native"}, "active None backend:native"),
    ],
)
def test_waiting_threads_and_gpu_memory_are_settled_before_torch_is_loaded(
    given: dict[str, str], expected: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in (WAITING, TURNS, MEMORY)}
    environment |= given
    code = (
        "import os, sys; from portal.cli import main; code = main(['--version']); "
        f"print(code, 'torch' in sys.modules, *map(os.environ.get, {[WAITING, TURNS, MEMORY]}))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == f"0 False {expected}"


def test_a_gpu_is_not_chosen_by_its_index(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu-check", "--device", "cuda:1"]) == 2

    told = "device 'cuda:1': it is 'cuda'; CUDA_VISIBLE_DEVICES=1 chooses the GPU"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("Tried to allocate 2 GiB"), MemoryError("2 GiB")])
def test_a_shortage_of_memory_is_a_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def allocate(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("sweeps.gpu_check.check.check_device", allocate)

    assert main(["gpu-check", "--device", "cpu"]) == exit_codes.FAILED
    assert capsys.readouterr().err == f"portal: out of memory: {error}\n"


def test_an_error_of_the_program_itself_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("sweeps.gpu_check.check.check_device", fail)

    with pytest.raises(RuntimeError, match="shapes do not match"):
        main(["gpu-check", "--device", "cpu"])


def test_exit_codes_are_written_in_one_file() -> None:
    codes = {value for name, value in vars(exit_codes).items() if name.isupper()}
    exits = [
        f"{path.relative_to(FOLDER)}, line {node.lineno}"
        for path in sorted(FOLDER.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.Exit", "sys.exit")
        if any(isinstance(argument, ast.Constant) for argument in node.args)
    ]

    assert codes == {0, 2, 3, 130}
    assert exits == []
