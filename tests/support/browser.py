"""A page in headless Chromium: what a probe in it sees, and what must hold of that."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

TELL = """
<script>
function tell(seen) {  // a probe calls it once, with what `open_page` gives back
  const probe = document.createElement("pre");
  probe.id = "probe";
  probe.textContent = JSON.stringify(seen);
  document.body.append(probe);
}
</script>
"""
PROBE = """
<script>
window.addEventListener("load", () => {
  const figures = [...document.querySelectorAll("figure svg")].map((svg) => {
    const box = svg.getBoundingClientRect();
    return {width: box.width, height: box.height, drawn: svg.querySelectorAll("path, use").length};
  });
  const table = document.querySelector("table");
  const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === "acc_norm");
  table.tHead.rows[0].cells[column].querySelector("button").click();
  const sorted = [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
  const svg = document.querySelector("figure svg");
  svg.scrollIntoView();
  const point = [...svg.querySelectorAll(".tip")].find((tip) => tip.dataset.tip.startsWith("PorTAL"));
  const box = point.getBoundingClientRect();
  const at = {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2, bubbles: true};
  svg.dispatchEvent(new PointerEvent("pointermove", at));
  const label = document.getElementById("pointer");
  let unfolded = null;
  const folded = document.querySelector("details tbody tr[id]");
  if (folded !== null) {
    history.replaceState(null, "", `#${encodeURIComponent(folded.id)}`);
    const wasOpen = folded.closest("details").open;
    window.dispatchEvent(new HashChangeEvent("hashchange"));
    unfolded = !wasOpen && folded.closest("details").open;
  }
  let filtered = null;
  const search = document.querySelector("input[type=search]");
  if (search !== null) {
    const rows = [...search.nextElementSibling.querySelector("tbody").rows];
    const word = rows[rows.length - 1].textContent.toLowerCase().slice(0, 8);
    search.value = word;
    search.dispatchEvent(new Event("input"));
    const left = rows.filter((row) => !row.hidden);
    const has = (row) => row.textContent.toLowerCase().includes(word);
    filtered = {all: rows.length, left: left.length, right: left.every(has)};
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  tell({
    filtered, unfolded, twice: ids.length - new Set(ids).size,
    figures, sorted, label: label.hidden ? "" : label.textContent, errors: window.probeErrors,
    tables: [...document.querySelectorAll(".scroll")].map((box) => ({
      cut: box.scrollWidth - box.clientWidth > 1, told: !box.nextElementSibling.hidden,
    })),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  });
});
</script>
"""


CATCH = (
    '<script>window.probeErrors = []; addEventListener("error", (e) => probeErrors.push(e.message));</script>'
)


def find_browser() -> str:
    for name in BROWSERS:
        found = shutil.which(name)
        if found:
            return found
    pytest.skip(f"no browser found (looked for {', '.join(BROWSERS)})")


def assert_page_works(page: Path, profile: Path, width: int) -> dict:
    """What a probe sees: every figure drawn, a table sorted, a value shown, no error, and nothing too wide
    but tables that say so.
    """
    text = page.read_text(encoding="utf-8").replace("<head>", f"<head>{CATCH}", 1)
    probed = page.with_name("probed.html")
    probed.write_text(text.replace("</body>", f"{TELL}{PROBE}</body>"), encoding="utf-8")
    seen, console = open_page(probed, profile, width)
    probed.unlink()
    assert seen["errors"] == []
    assert "CONSOLE" not in console
    assert all(figure["width"] > 250 and figure["height"] > 100 for figure in seen["figures"])
    assert all(figure["drawn"] > 20 for figure in seen["figures"])
    assert seen["sorted"] == sorted(seen["sorted"])
    assert seen["label"]
    assert seen["overflow"] <= 0
    assert seen["unfolded"] is not False, "a link to a folded row does not show it"
    assert seen["twice"] == 0, "two elements have one name"
    if seen["filtered"] is not None:  # the page has a long table
        assert seen["filtered"]["right"]
        assert 0 < seen["filtered"]["left"] < seen["filtered"]["all"]
    assert all(table["told"] is table["cut"] for table in seen["tables"])
    return seen


def open_page(page: Path | str, profile: Path, width: int, *more: str) -> tuple[Any, str]:
    """What the probe saw in the file or at the address, and what the browser wrote to its console.

    `more` are options of the browser.
    """
    command = [
        find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", "--enable-logging=stderr", f"--window-size={width},1600", "--dump-dom",
        *more, page if isinstance(page, str) else page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert found, "the probe did not run"
    return json.loads(unescape(found.group(1))), done.stderr


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
