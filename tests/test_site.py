"""The site is made of what the repository holds: dead links fail, formulas and commands are on its pages."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.browser import TELL, open_page
from tests.support.markdown import ROOT


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


SEARCH = """
<script>
addEventListener("load", () => {
  const box = document.querySelector("input[data-md-component=search-query]");
  box.focus();
  box.value = "converter";
  box.dispatchEvent(new KeyboardEvent("keyup"));
  const look = setInterval(() => {
    const found = [...document.querySelectorAll(".md-search-result__item a")].map((link) => link.href);
    if (found.length === 0) return;
    clearInterval(look);
    tell(found);
  }, 100);
});
</script>
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.nightly
@pytest.mark.parametrize("page", ["reference/python.html", "index.html"])
def test_the_search_works_on_pages_that_are_opened_as_files(site: Path, tmp_path: Path, page: str) -> None:
    folder = Path(shutil.copytree(site, tmp_path / "site"))
    searched = folder / page
    text = searched.read_text(encoding="utf-8")
    searched.write_text(text.replace("</body>", f"{TELL}{SEARCH}</body>"), encoding="utf-8")

    found, _ = open_page(searched, tmp_path / "profile", 1280, "--virtual-time-budget=60000")

    assert any(link.split("?")[0] == (folder / "method.html").as_uri() for link in found)


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = re.compile(
        r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//"""
        r"""|<link\b(?![^>]*rel="?(?:canonical|next|prev))[^>]*\bhref=["']?(?:https?:)?//"""
        r"""|url\(["']?(?:https?:)?//|@import"""
    )
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 40
    assert [page.name for page in pages if loaded.search(page.read_text(encoding="utf-8"))] == []


@pytest.mark.slow
def test_the_site_has_formulas_commands_and_names(site: Path) -> None:
    method, commands, names = (
        (site / page).read_text()
        for page in ("method.html", "reference/command-line.html", "reference/python.html")
    )
    assert method.count("<math") > 100
    assert "```math" not in method
    assert "portal sweep plan" in commands
    assert 'id="portal.artifacts.artifact.Artifact"' in names
    keys = (site / "reference" / "study-file.html").read_text()
    assert '<a href="#train">train</a>' in keys
    assert "Decay of the moving average of each task" in keys


@pytest.mark.nightly
@pytest.mark.parametrize(
    "links",
    [("[gone](gone.md)", "[gone](method.md#gone-too)", "[gone](../portal/gone.py)"), ("::: portal.gone",)],
)
def test_what_leads_nowhere_fails(links: tuple[str, ...], tmp_path: Path) -> None:
    for part in ("docs", ".ci", "mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
    for package in ("portal", "sweeps", "analysis", "cluster", "benchmarks", "tests", "README.md"):
        (tmp_path / package).symlink_to(ROOT / package)
    with (tmp_path / "docs" / "glossary.md").open("a") as page:
        page.write("".join(f"\n{link}\n" for link in links))

    done = build(tmp_path, tmp_path / "site")

    assert done.returncode != 0
    for link in links:
        assert re.search(re.escape(link.strip("[]:) ").rpartition("(")[2]), done.stderr), done.stderr
