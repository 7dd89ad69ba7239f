"""The page in a real browser: figures are drawn, tables sort, values show, nothing is logged as an error."""

import re
from pathlib import Path

import pytest

from analysis.report.write import ReportInput, write_report
from tests.support.browser import assert_page_works


@pytest.fixture(scope="module")
def page(demo_results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([ReportInput(demo_results, "demo")], tmp_path_factory.mktemp("page"))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_works_in_a_browser(page: Path, tmp_path: Path, width: int) -> None:
    seen = assert_page_works(page, tmp_path / "profile", width)
    assert len(seen["figures"]) == 12
    assert re.fullmatch(r"PorTAL: 0\.\d{3} ± 0\.\d{3}, n = 3", seen["label"])
