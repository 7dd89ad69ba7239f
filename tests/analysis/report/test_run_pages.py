"""Pages of single runs: one for each planned run, linked to each other, with what a reader asks of a run."""

import json
import re
import shutil
from collections.abc import Iterable
from html import escape
from pathlib import Path

import pyarrow as pa
import pytest

from analysis.report.write import ReportInput, write_report
from portal.results import (
    LOSSES,
    LOSSES_FILE,
    QUESTIONS,
    QUESTIONS_FILE,
    RUNS,
    RUNS_FILE,
    RunDetail,
    write_table,
)
from tests.support.browser import TELL, open_page
from tests.support.result_tables import StudyBuilder

PROBE = """<script>window.addEventListener("load", () => {
  const [svg, search] = [document.querySelector("figure svg"), document.querySelector("input[type=search]")];
  tell({
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    width: svg.getBoundingClientRect().width, search: search && search.placeholder,
    ink: getComputedStyle(svg.querySelector("text")).fill,
    styled: getComputedStyle(document.querySelector(".card")).borderRadius,
  });
});</script>"""
FAILED = RunDetail(
    "f" * 16, "half <i>", "portal big n8 s9", "failed", "step 3: the loss is <nan>",
    {"method": "portal", "seed": 9, "bases": [{"name": "big"}]}, log=("12:00 INFO pack", "12:01 ERROR <nan>"),
)  # fmt: skip
MISSING = RunDetail(
    "e" * 16, "lora", "lora big n8 s8", "missing", None,
    {"method": "lora", "seed": 8, "bases": [{"name": "big"}]},
)  # fmt: skip


def detail(line: dict) -> RunDetail:
    settings = {
        "method": line["method"], "seed": line["seed"], "bases": [{"name": line["base"]}],
        "data": {"size": line["size"]},
    }  # fmt: skip
    return RunDetail(
        line["run"], line["method"], f"{line['method']} {line['base']}", "done", None, settings, "H100", 2,
        ("plain",), 2_500_000_000, ("the log",),
    )  # fmt: skip


def write_rows(rows: Iterable[dict], schema: pa.Schema, path: Path) -> None:
    write_table(pa.Table.from_pylist([*rows], schema=schema), path)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    builder = StudyBuilder(num_examples=40)
    builder.add("base", rates=(0.3,))
    for seed in (0, 1):
        builder.add("lora", seed=seed, size=8, rates=(0.5, 0.8))
        builder.add("portal", seed=seed, size=8, rates=(0.4, 0.7))
    folder = builder.write(tmp_path_factory.mktemp("runs") / "results")
    first = {line["run"]: line for line in builder.rows}
    details = [*map(detail, first.values()), FAILED, MISSING]
    write_rows((each.row() for each in details), RUNS, folder / RUNS_FILE)
    trained = [FAILED.run, *(key for key, line in first.items() if line["method"] != "base")]
    losses = ({"run": key, "step": step, "loss": 10 / step} for key in trained for step in (1, 2, 3))
    write_rows(losses, LOSSES, folder / LOSSES_FILE)
    asked = {(line["task"], line["example"]) for line in builder.predictions}
    questions = (
        {
            "task": task, "example": example, "prompt": f"<img src=x> question {example}?",
            "choices": [" north", " south", " east", " <west>"],
        }
        for task, example in sorted(asked)
    )  # fmt: skip
    write_rows(questions, QUESTIONS, folder / QUESTIONS_FILE)
    return folder


@pytest.fixture(scope="module")
def pages(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([ReportInput(results, "demo")], tmp_path_factory.mktemp("report")).parent / "runs"


def test_prompts_choices_labels_and_causes_are_text_and_no_markup(pages: Path) -> None:
    texts = [
        page.read_text(encoding="utf-8") for page in (*pages.glob("*.html"), pages.parent / "index.html")
    ]

    for markup in ("<img", "<i>", "<west>", "<nan>"):
        assert any(escape(markup) in text for text in texts), markup
        assert not any(markup in text for text in texts), markup


@pytest.fixture(scope="module")
def port_page(pages: Path) -> Path:
    """The page of the first port in the list of all runs."""
    listed = (pages / "index.html").read_text()
    found = re.search(r'<a href="([0-9a-f]+\.html)">[^<]*</a></td><td class="word">portal<', listed)
    assert found is not None
    return pages / found[1]


def test_every_planned_run_has_a_page_and_every_link_leads_somewhere(pages: Path) -> None:
    names = {path.name for path in pages.iterdir()}
    assert len(names) == 7 + 3
    assert {"index.html", "page.css", "page.js", f"{FAILED.run}.html", f"{MISSING.run}.html"} <= names

    for page in [pages.parent / "index.html", *pages.glob("*.html")]:
        text = page.read_text()
        anchors = set(re.findall(r' id="([^"]+)"', text))
        for place in re.findall(r'(?:href|src)="([^"]+)"', text):
            if place.startswith("#"):
                assert place[1:] in anchors, (page.name, place)
            elif not place.startswith("data:"):
                assert (page.parent / place).is_file(), (page.name, place)
    assert '<a href="runs/index.html">All runs</a>' in (pages.parent / "index.html").read_text()


def test_a_page_tells_scores_curves_neighbours_settings_and_memory(port_page: Path) -> None:
    text = port_page.read_text()

    for part in (
        "Loss while training",
        "log-loss, nats per token on big",
        "Scores by task",
        "seed 1 (here 0)",
        "<dt>most memory of its process</dt><dd>2.50 GB</dd>",
        "<dt>data.size</dt><dd>8</dd>",
        "<dt>device</dt><dd>H100</dd>",
        "the log",
    ):
        assert part in text


def test_wrong_answers_are_told_with_prompt_and_texts(port_page: Path) -> None:
    text = port_page.read_text()

    found = re.search(r"Answers worth less than 1: (\d+) of 120", text)
    assert found is not None
    assert 0 < int(found[1]) < 120
    cell = r'>&lt;img src=x&gt; question 00\d\d\?</td><td class="word text">(north|south|east|&lt;west&gt;)<'
    assert re.search(cell, text)
    table = (port_page.parents[1] / "tables" / "contrasts-big.csv").read_text().splitlines()
    assert table[0] == "task,row,prompt,right answer,port,per-task LoRA,worth: port,worth: LoRA"
    assert len(table) > 3


def test_a_run_that_failed_has_its_cause_its_losses_and_its_log_and_a_missing_one_says_so(
    pages: Path,
) -> None:
    text = (pages / f"{FAILED.run}.html").read_text()

    for part in (
        "The run failed: step 3: the loss is &lt;nan&gt;",
        "Loss while training",
        "12:01 ERROR &lt;nan&gt;",
        "portal big n8 s9 (half &lt;i&gt;)",
    ):
        assert part in text
    assert "Scores by task" not in text
    assert "The run has no result yet." in (pages / f"{MISSING.run}.html").read_text()


def test_pages_that_a_later_report_lacks_are_deleted(pages: Path, results: Path, tmp_path: Path) -> None:
    out, bare = tmp_path / "report", tmp_path / "bare"
    shutil.copytree(pages.parent, out)
    assert f"runs/{FAILED.run}.html" in json.loads((out / "files.json").read_text())
    (out / "runs" / "mine.txt").write_text("kept")
    bare.mkdir()
    for name in ("results.parquet", RUNS_FILE):
        shutil.copy(results / name, bare)

    write_report([ReportInput(bare, "demo")], out)
    without_answers = [path.read_text() for path in (out / "runs").glob("*.html")]
    (bare / RUNS_FILE).unlink()
    page = write_report([ReportInput(bare, "demo")], out)

    assert len(without_answers) == 7 + 1
    assert not any("Wrong answers" in text for text in without_answers)
    assert [path.name for path in (out / "runs").iterdir()] == ["mine.txt"]
    assert "runs/index.html" not in page.read_text()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_works_in_a_browser(port_page: Path, tmp_path: Path, width: int) -> None:
    probed = port_page.with_name("probed.html")
    probed.write_text(port_page.read_text().replace("</body>", f"{TELL}{PROBE}</body>"))
    seen, console = open_page(probed, tmp_path / "profile", width)
    probed.unlink()

    assert "CONSOLE" not in console
    assert seen["overflow"] <= 0
    assert seen["width"] > 250
    assert seen["search"] is not None
    assert (seen["ink"], seen["styled"]) == ("rgb(27, 31, 36)", "10px")
