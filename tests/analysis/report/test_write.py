"""The written report: complete, self-contained, repeatable, honest about what is missing."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.report.sentences import summary_table
from analysis.report.write import ReportInput, write_report
from portal.results import STUDY_FILE, AbsentRun, StudyInfo
from tests.support.result_tables import StudyBuilder, study_of_kinds, study_of_ranks, study_with_port

BASES = ("mini-gemma3", "mini-qwen3-m")
VOID = {"meta", "link", "br", "path", "use"}


class Balance(HTMLParser):
    """Collects ids and addresses, and checks that elements close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._read(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._read(attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def _read(self, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.addresses += [values[name] or "" for name in ("src", "href", "xlink:href") if name in values]


def read_page(page: Path) -> Balance:
    """The page, which is well formed and has no id twice."""
    parser = Balance()
    parser.feed(page.read_text(encoding="utf-8"))
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    return parser


def write(builder: StudyBuilder, folder: Path, info: StudyInfo | None = None) -> Path:
    return write_report([ReportInput(builder.write(folder / "results"), info=info)], folder / "report")


def test_the_report_folder_holds_page_tables_and_figures(demo_report: Path) -> None:
    figures = {f"{kind}-{base}" for kind in ("methods", "tasks", "reliability") for base in BASES}
    figures |= {
        f"curve{axis}-{metric}-mini-qwen3-m"
        for axis in ("", "-flops", "-time")
        for metric in ("acc", "log-loss")
    }
    drawn = {f"{figure}.{suffix}" for figure in figures for suffix in ("png", "svg", "pdf")}
    of_each = ("main", "tasks", "rules", "comparisons", "leads", "calibration")
    tables = {f"{kind}-{base}" for kind in of_each for base in BASES}
    tables |= {f"{kind}-mini-qwen3-m" for kind in ("savings", "curve", "log-loss")}
    tables |= {"overview", "cost", "study-cost", "sources", "seed-spread"}

    names = {path.name for path in demo_report.parent.iterdir()}
    assert names == drawn | {"index.html", "tables.md", "tables.tex", "tables", "files.json"}
    assert {path.stem for path in (demo_report.parent / "tables").iterdir()} == tables
    with (demo_report.parent / "tables" / "main-mini-gemma3.csv").open(encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert 0 < float(rows["PorTAL"]["lift: 95 % low"]) < float(rows["PorTAL"]["recovered lift"])
    assert rows["PorTAL"]["acc_norm n"] == "3"
    assert rows["frozen base"]["recovered lift"] == ""


def test_the_page_is_well_formed_and_asks_nothing_of_the_network(demo_report: Path) -> None:
    page = read_page(demo_report)

    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert not re.search(r"@import|url\((?!#)", demo_report.read_text(encoding="utf-8"))


def test_the_page_shows_figures_headlines_what_was_run_and_what_is_missing(demo_report: Path) -> None:
    text = demo_report.read_text(encoding="utf-8")
    tables = (demo_report.parent / "tables.md").read_text(encoding="utf-8")

    assert len(re.findall(r'<svg [^>]*role="img" aria-label="[^"]{20,}"', text)) == 12
    for part in (
        "per-task LoRA, 256 rows: ",
        "<title>PorTAL, 8 rows: ",
        "Demo &lt;1&gt;",
        "loss is &lt;nan&gt; (log: x.log)",
        "per-task LoRA on mini-gemma3, size 64, seed 2",
        "A note &amp; more.",
        "<dt>command</dt><dd>portal demo</dd>",
    ):
        assert part in text
    headline = r"On mini-qwen3-m, PorTAL recovers \d+\.\d % of the per-task LoRA's lift \(three seeds"
    assert re.search(headline, tables)
    assert "loss is <nan>" in tables


@pytest.mark.slow
def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    builder, info = study_with_port(0.7, seeds=2), StudyInfo(facts={"study": "mine"})

    one, two = (write(builder, tmp_path / name, info).parent for name in ("one", "two"))

    paths = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} >= {".html", ".md", ".tex", ".csv", ".svg", ".png", ".pdf"}
    for path in paths:
        assert (one / path).read_bytes() == (two / path).read_bytes(), path


def test_a_study_with_only_a_base_and_a_port_reports_what_is_there(tmp_path: Path) -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    builder.add("portal", seed=0, size=8, rates=(0.5, 0.7))

    text = write(builder, tmp_path).read_text(encoding="utf-8")

    assert "recovered lift is undefined (no per-task LoRA on this base)" in text
    assert "per-task LoRA on big: no finished run" in text
    assert "there are no intervals" in text
    assert f"<title>PorTAL: {tmp_path.name}</title>" in text


def test_a_study_with_only_source_runs_reports_them(tmp_path: Path) -> None:
    builder = StudyBuilder()
    for seed in (0, 1):
        builder.add("source", base="small", seed=seed, size=8, rates=(0.5,))

    assert "Joint training on its own source bases" in write(builder, tmp_path).read_text(encoding="utf-8")


def test_without_results_there_is_a_one_line_mistake_and_no_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished run yet"):
        write(StudyBuilder(), tmp_path)
    with pytest.raises(ValueError, match=r"results\.parquet"):
        write_report([ReportInput(tmp_path)], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_study_is_named_by_the_record_beside_its_tables(tmp_path: Path) -> None:
    builder = StudyBuilder(with_predictions=False, num_examples=20)
    for base in ("Org/Model", "org-model"):
        builder.add("base", base=base)
    missing = AbsentRun(method="portal", base="org-model", seed=1, cause="out of memory")
    info = StudyInfo(facts={"study": "mine"}, missing=(missing,))
    results = builder.write(tmp_path / "results")
    (results / STUDY_FILE).write_text(json.dumps(info.to_json()))
    page = write_report([ReportInput(results)], tmp_path / "report")

    assert "<title>PorTAL: mine</title>" in page.read_text(encoding="utf-8")
    assert "PorTAL on org-model, seed 1: out of memory" in page.read_text(encoding="utf-8")
    # Names of bases that collide as files keep their own figures.
    figures = {path.name for path in page.parent.glob("methods-*.svg")}
    assert figures == {"methods-org-model.svg", "methods-org-model--2.svg"}
    read_page(page)


def test_a_headline_chosen_among_variants_is_named_with_the_rule(tmp_path: Path) -> None:
    for plain, is_chosen in (({}, True), ({"portal": 0.5}, False)):
        text = write(study_of_ranks({2: 0.5, 8: 0.7}, **plain), tmp_path).read_text(encoding="utf-8")
        chosen = "On big, PorTAL (r8) q,v r8, of two variants the best on validation rows, recovers"
        assert (chosen in text) == is_chosen
        assert ("On big, PorTAL q,v r8 recovers" in text) != is_chosen
        assert ("No test row takes part in that choice." in text) == is_chosen


def test_the_terminal_summary_has_a_line_a_method_and_the_headline(demo_results: Path) -> None:
    text = summary_table(demo_results)

    assert re.search(r"^PorTAL +256 +0\.\d{3} ± 0\.\d{3} +3 +\d+\.\d % ", text, flags=re.MULTILINE)
    assert text.count("PorTAL recovers") == 2
    assert max(map(len, text.splitlines()[:3])) <= 100


def test_a_study_with_kinds_opens_with_them_and_folds_single_tasks(tmp_path: Path) -> None:
    builder, kinds = study_of_kinds(4, 8)
    page = write(builder, tmp_path, StudyInfo(kinds=kinds))
    text = page.read_text(encoding="utf-8")
    names = {path.name for path in page.parent.iterdir()}

    assert {"kinds-big.svg", "tasks-big-1.svg", "tasks-big-2.svg"} <= names
    assert "tasks-big.svg" not in names
    read_page(page)
    opened = text.index("<h3>big: acc_norm by kind of task <a")
    folded = text.index("<summary>big: acc_norm by task <a")
    figures = text.index("<summary>big: acc_norm by task, as figures</summary>")
    assert opened < folded < figures
    assert text.count("<figure", figures) == 2
    assert "<dt>tasks</dt><dd>32 tasks of four kinds: kind00 (8), kind01 (8)," in text


def test_many_tasks_without_kinds_are_folded_and_few_lie_open(tmp_path: Path) -> None:
    for number, is_open in ((24, True), (25, False)):
        tasks = tuple(f"t{place:02d}" for place in range(number))
        builder = StudyBuilder(tasks=tasks, num_examples=20, with_predictions=False)
        builder.add("base")
        page = write(builder, tmp_path)
        assert (page.parent / "tasks-big.svg").exists() == is_open
        assert ("acc_norm by task, as figures" in page.read_text(encoding="utf-8")) != is_open
        assert "by kind of task" not in page.read_text(encoding="utf-8")


def test_a_terminal_gets_a_line_a_kind_however_many_tasks_there_are(tmp_path: Path) -> None:
    builder, kinds = study_of_kinds(18, 7)
    results = builder.write(tmp_path / "results")
    (results / STUDY_FILE).write_text(json.dumps(StudyInfo(kinds=kinds).to_json()))

    text = summary_table(results)

    assert re.search(r"^kind17 +7 +0\.250 ", text, flags=re.MULTILINE)
    assert len(text.splitlines()) < 32
    assert "kind17_0" not in text
    assert max(map(len, text.splitlines()[-20:])) <= 100
