"""Execute the notebooks of examples/ in their order: `make notebooks` keeps outputs, `--check` compares them.

They run in a copy, so that an earlier `out` folder changes nothing; what they print to stderr, which names
places of this machine, and times are left out. The first error ends it. Another processor rounds differently,
so texts are compared without their numbers.
"""

import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
LONGEST_CELL_S = 1800
_NUMBER = re.compile(r"-?[0-9][0-9.,e+-]*")


def execute(notebook: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook as it looks after a run in `folder`."""
    content = nbformat.read(notebook, as_version=4)
    client = NotebookClient(content, timeout=LONGEST_CELL_S, resources={"metadata": {"path": str(folder)}})
    client.execute()
    for cell in content.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    content.metadata = {name: content.metadata[name] for name in ("kernelspec", "language_info")}
    content.metadata["language_info"] = {"name": "python"}
    return content


def told(content: nbformat.NotebookNode) -> list[list[str]]:
    """By code cell, what its outputs are: texts without numbers, and the kinds of all else."""
    return [
        [
            re.sub(r"-?[0-9][0-9.,e+-]*", "N", each.get("text", "")) or str(sorted(each.data))
            for each in outputs
        ]
        for outputs in (cell.outputs for cell in content.cells if cell.cell_type == "code")
    ]


def main() -> None:
    """Write every notebook of examples/ with its outputs, or with `--check` name those with other ones."""
    is_check, unlike = "--check" in sys.argv[1:], list[str]()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "examples"
        shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("out"))
        for notebook in sorted(EXAMPLES.glob("*.ipynb")):
            print(notebook.name, file=sys.stderr, flush=True)
            content = execute(notebook, folder)
            if not is_check:
                nbformat.write(content, notebook)
            elif told(content) != told(nbformat.read(notebook, as_version=4)):
                unlike.append(notebook.name)
    if unlike:
        sys.exit(f"{', '.join(unlike)}: other outputs than those committed; make notebooks writes them anew")


if __name__ == "__main__":
    main()
