"""The `portal` command itself: version, help, and exit codes in one place."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import portal
import portal.cli
from portal.cli import exit_codes, main
from sweeps.store.provenance import code_state, describe_code

FOLDER = Path(portal.cli.__file__).parent


def test_the_version_and_the_help_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert main(["--help"]) == 0
    assert main([]) == 0

    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"{portal.__version__} ({describe_code(code_state())})"
    assert any("sweep" in line for line in others)


@pytest.mark.parametrize(("given", "expected"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_waiting_threads_give_their_core_to_others_before_torch_is_loaded(
    given: dict[str, str], expected: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
    code = (
        "import os, sys; from portal.cli import main; code = main(['--version']); "
        "print(code, 'torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == f"0 False {expected}"


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
