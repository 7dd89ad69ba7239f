"""The page of the Python API is a script that runs, and it names what the packages export."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import analysis
import portal
import sweeps
from tests.support.markdown import DOCS

SNIPPETS = re.findall(r"```python\n(.*?)```", (DOCS / "api.md").read_text(), re.DOTALL)


@pytest.mark.slow
def test_every_snippet_of_the_page_runs_in_order(tmp_path: Path) -> None:
    script = tmp_path / "api.py"
    script.write_text("".join(SNIPPETS))

    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs done, 2 trained now" in done.stdout
    for task in ("fact_qa", "membership"):
        assert (tmp_path / f"{task}-adapter" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "report" / "index.html").is_file()


def test_every_name_on_the_page_is_exported() -> None:
    for package in (portal, sweeps, analysis):
        used = set(re.findall(rf"\b{package.__name__}\.(\w+)", "".join(SNIPPETS)))
        assert used, f"the page shows nothing of {package.__name__}"
        assert used <= set(package.__all__)
