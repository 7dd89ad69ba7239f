"""The page of the Python API is a script that runs, and it names what the packages export."""

import re
import sys
from pathlib import Path

import pytest

import analysis
import portal
import sweeps
from tests.support.api_page import SNIPPETS, run_api_page


@pytest.mark.slow
def test_every_snippet_of_the_page_runs_in_order(tmp_path: Path) -> None:
    run_api_page(Path(sys.executable), tmp_path)


def test_every_name_on_the_page_is_exported() -> None:
    for package in (portal, sweeps, analysis):
        used = set(re.findall(rf"\b{package.__name__}\.(\w+)", "".join(SNIPPETS)))
        assert used, f"the page shows nothing of {package.__name__}"
        assert used <= set(package.__all__)
