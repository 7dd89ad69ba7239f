"""The page in a real browser: figures are drawn, tables sort, values show, nothing is logged as an error."""

import re
import shutil
from pathlib import Path

import pytest

from analysis.report.html import Block, ReportDocument, Section, render_page
from analysis.tables.table import COUNT, NUMBER, WORD, Column, Table
from tests.support.browser import TELL, assert_page_works, open_page


def page_of(table: Table, title: str = "s") -> str:
    return render_page(ReportDocument("t", "", (), (Section(title, (Block(tables=(table,)),)),), ()))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_works_in_a_browser(demo_report: Path, tmp_path: Path, width: int) -> None:
    page = Path(shutil.copy(demo_report, tmp_path))
    seen = assert_page_works(page, tmp_path / "profile", width)
    assert len(seen["figures"]) == 12
    assert seen["unfolded"]
    assert seen["filtered"] is not None
    assert re.fullmatch(r"PorTAL: 0\.\d{3} ± 0\.\d{3}, n = 3", seen["label"])


RELOADED = """
<script>
const order = () => [...document.querySelectorAll("tbody tr")].map((row) => row.cells[0].textContent);
addEventListener("load", () => {
  if (sessionStorage.getItem("reloaded") === null) {
    sessionStorage.setItem("reloaded", JSON.stringify(order()));
    const [head] = [...document.querySelectorAll("th button")].filter((each) => each.textContent === "acc");
    head.click();
    head.click();
    location.reload();
    return;
  }
  tell([JSON.parse(sessionStorage.getItem("reloaded")), order()]);
});
</script>
"""


def test_a_table_keeps_its_order_when_the_page_loads_itself_anew(tmp_path: Path) -> None:
    rows = (("a", 0.5), ("b", 0.7), ("c", 0.6), ("mean", 0.6))
    table = Table("Scores", "main", (Column("method", WORD), Column("acc", NUMBER)), rows, footer=1)
    page = tmp_path / "page.html"
    page.write_text(page_of(table).replace("</body>", f"{TELL}{RELOADED}</body>"), encoding="utf-8")

    before, after = open_page(page, tmp_path / "profile", 1280, "--virtual-time-budget=5000")[0]
    assert before == ["a", "b", "c"]
    assert after == ["b", "c", "a"]  # the closing row is no part of the order


def test_a_link_to_a_table_or_a_row_names_what_it_is_about_and_alike_rows_are_numbered() -> None:
    columns = (Column("method", WORD), Column("size", COUNT), Column("acc", NUMBER))
    rows = (("PorTAL (half)", 4, 0.5), ("PorTAL (half)", 16, 0.6), ("frozen base", None, 0.2))
    page = page_of(Table("Scores", "main-big", columns, rows), "big 2.5")
    names = (("base",), ("base",), ("base-2",), ("\u6771\u4eac",))

    assert re.findall(r'id="(section-[^"]*|table-[^"]*)"', page) == [
        "section-big-2.5", "table-main-big", "table-main-big:portal-half-4", "table-main-big:portal-half-16",
        "table-main-big:frozen-base",
    ]  # fmt: skip
    assert 'href="#section-big-2.5"' in page
    assert 'href="#table-main-big"' in page
    assert re.findall(r'<tr id="([^"]*)"', page_of(Table("Scores", "same", columns[:1], names))) == [
        "table-same:base", "table-same:base-2", "table-same:base-2-2", "table-same:\u6771\u4eac",
    ]  # fmt: skip
