"""The notebooks of examples/ as they are committed: run once from top to bottom, with their outputs.

`make notebooks` executes them; the night's gates do.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

import analysis
import portal
import sweeps
from tests.support.markdown import ROOT, name_of

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name_of)


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def source_of(notebook: Path) -> str:
    return "\n".join("".join(cell["source"]) for cell in code_cells(notebook))


def test_there_are_notebooks() -> None:
    assert [notebook.name[0] for notebook in NOTEBOOKS] == ["1", "2", "3"]


@every_notebook
def test_cells_were_run_once_in_their_order_without_an_error(notebook: Path) -> None:
    cells = code_cells(notebook)
    outputs = [output for cell in cells for output in cell["outputs"]]

    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] for cell in cells[1:])
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(output.get("name") != "stderr" for output in outputs)


@every_notebook
def test_nothing_names_a_place_of_the_machine_that_it_was_run_on(notebook: Path) -> None:
    cells = [
        cell | {"outputs": [_without_pictures(each) for each in cell["outputs"]]}
        for cell in code_cells(notebook)
    ]

    assert re.findall(r"/(?:home|root|tmp|work|usr|var)/\S*", json.dumps(cells)) == []


def _without_pictures(output: dict[str, Any]) -> dict[str, Any]:
    data = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
    return output | {"data": data}


@every_notebook
def test_cells_use_public_names_that_are_there(notebook: Path) -> None:
    source = source_of(notebook)
    ast.parse(source)

    for package in (portal, sweeps, analysis):
        used = set(re.findall(rf"\b{package.__name__}\.(\w+)", source))
        assert used <= set(package.__all__)
    assert re.search(r"\b(portal|sweeps|analysis)\.\w+\(", source)


@every_notebook
def test_links_lead_to_files(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")

    for target in re.findall(r"\]\(([^()#]+)", text):
        assert (notebook.parent / target).exists(), target
