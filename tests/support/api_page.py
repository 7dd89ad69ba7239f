"""The page of the Python API as a script: it scores, trains, ports, exports, and runs a study of two runs."""

import re
import subprocess
from pathlib import Path

from tests.support.markdown import DOCS

SNIPPETS = re.findall(r"```python\n(.*?)```", (DOCS / "api.md").read_text(), re.DOTALL)


def run_api_page(python: Path, folder: Path) -> None:
    """Run all snippets in their order with this interpreter, in a folder that they may fill."""
    script = folder / "api.py"
    script.write_text("".join(SNIPPETS))

    done = subprocess.run([python, script], cwd=folder, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs done, 2 trained now" in done.stdout
    for task in ("fact_qa", "membership"):
        assert (folder / f"{task}-adapter" / "adapter_model.safetensors").is_file()
    assert (folder / "report" / "index.html").is_file()
