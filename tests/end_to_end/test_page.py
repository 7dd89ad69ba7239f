"""The page of a study that was really trained, in a real browser."""

import shutil
from pathlib import Path

import pytest

from portal.cli import main
from tests.support.browser import assert_page_works


@pytest.mark.slow
def test_the_page_of_a_trained_study_works_in_a_browser(
    unbroken: tuple[Path, object], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(unbroken[0], tmp_path / "out"))
    assert main(["report", str(out)]) == 0
    page = out / "report" / "index.html"
    for width in (1280, 390):
        seen = assert_page_works(page, tmp_path / f"profile-{width}", width)
        assert len(seen["figures"]) == 3
    assert "mini-qwen3-s" in page.read_text(encoding="utf-8")


@pytest.mark.demo
def test_the_demo_ends_in_a_page_that_works_in_a_browser(demo: Path, tmp_path: Path) -> None:
    page = demo / "report" / "index.html"
    for width in (1280, 390):
        seen = assert_page_works(page, tmp_path / f"profile-{width}", width)
        assert len(seen["figures"]) == 17
        assert seen["label"].startswith("PorTAL")
    text = page.read_text(encoding="utf-8")
    assert "No failed or missing run" in text
    opened = text[text.index('<div class="tiles">') : text.index("<h2")]
    savings, without_rows = "data on village-qwen3-m", "on tasks without a row on village-gemma3"
    assert opened.index(savings) < opened.index(without_rows) < opened.index("recovered lift on")
