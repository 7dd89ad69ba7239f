"""The how-to on new bases and new tasks as written, from what the demo left, with less training."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from portal.cli import main
from tests.support.markdown import DOCS, blocks

PAGE = DOCS / "new-bases-and-tasks.md"
SHORTER = (
    ("--recipe many-tasks --examples 16", "--epochs 1 --examples 4"),
    ("--tasks nine-kinds --examples 160", "--tasks source-5 --examples 16"),
    ("--recipe many-tasks --modules", "--epochs 1 --modules"),
)
"""What takes minutes is cut short."""
DIGESTS = re.compile(r"^(SOURCE|CORE)=.*\n", re.MULTILINE)


def script(source: str, core: str) -> str:
    """The page's commands, with the digests that the registry's list shows."""
    text = "".join(blocks(PAGE, "sh"))
    assert {*DIGESTS.findall(text)} == {"SOURCE", "CORE"}
    register, rest = DIGESTS.sub("", text).replace("\\\n", " ").split("\n", 1)
    assert register == "portal registry shelf --add portal-demo"
    for long, short in SHORTER:
        assert re.sub(" +", " ", rest).count(long) == 1, long
        rest = re.sub(" +", " ", rest).replace(long, short)
    return f"set -e\nSOURCE={source}\nCORE={core}\n{rest}"


@pytest.mark.demo
def test_every_command_of_the_page_runs_in_order(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "portal-demo").symlink_to(demo)
    assert main(["registry", "shelf", "--add", "portal-demo"]) == 0
    capsys.readouterr()
    assert main(["registry", "shelf", "--json"]) == 0
    core, _ = json.loads(capsys.readouterr().out)["cores"]
    (source,) = [each["folder"] for each in core["artifacts"] if each["base"] == "village-qwen3-xs"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    done = subprocess.run(
        ["bash", "-c", script(source, core["core_sha256"][:4])],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "plays_01" in done.stdout
    for base in ("village-qwen3-m", "village-gemma3"):
        assert (tmp_path / "adapters" / base / "plays_01" / "adapter_model.safetensors").is_file()
    assert len([*(tmp_path / "adapters" / "village-qwen3.5").iterdir()]) == 36
    assert "no test rows: what was gained is not known of instruments" in done.stdout
