"""The written report: complete, self-contained, repeatable, honest about what is missing."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.report.html import ReportOptions
from analysis.report.sentences import summary_table
from analysis.report.write import ReportInput, write_report
from portal.results import STUDY_FILE, AbsentRun, StudyInfo
from tests.support.result_tables import StudyBuilder, study_of_kinds, study_of_ranks

INFO = StudyInfo(
    facts={"command": "portal demo", "versions": {"torch": "2.9"}},
    failed=(AbsentRun(run="abc", method="portal", base="mini-gemma3", cause="loss is <nan>", log="x.log"),),
    missing=(AbsentRun(method="lora", base="mini-gemma3", size=64, seed=2),),
    notes=("A note & more.",),
)
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


@pytest.fixture(scope="module")
def report(demo_results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(
        [ReportInput(demo_results, "demo", INFO)],
        tmp_path_factory.mktemp("report") / "out",
        ReportOptions(title="Demo <1>"),
    )


def test_the_report_folder_holds_page_tables_and_figures(report: Path) -> None:
    names = {path.name for path in report.parent.iterdir()}
    figures = {f"{kind}-{base}" for kind in ("methods", "tasks", "reliability") for base in BASES}
    figures |= {
        f"curve{axis}-{metric}-mini-qwen3-m"
        for axis in ("", "-flops", "-time")
        for metric in ("acc", "log-loss")
    }
    drawn = {f"{figure}.{suffix}" for figure in figures for suffix in ("png", "svg", "pdf")}
    assert names == drawn | {"index.html", "tables.md", "tables.tex", "tables", "files.json"}
    of_bases = {
        f"{kind}-{base}"
        for kind in ("main", "tasks", "rules", "comparisons", "leads", "calibration")
        for base in BASES
    }
    tables = of_bases | {
        "savings-mini-qwen3-m",
        "curve-mini-qwen3-m",
        "log-loss-mini-qwen3-m",
        "overview",
        "cost",
        "study-cost",
        "sources",
        "seed-spread",
    }
    assert {path.stem for path in (report.parent / "tables").iterdir()} == tables


def test_a_table_of_the_report_is_read_by_a_machine(report: Path) -> None:
    with (report.parent / "tables" / "main-mini-gemma3.csv").open(encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert 0 < float(rows["PorTAL"]["lift: 95 % low"]) < float(rows["PorTAL"]["recovered lift"])
    assert rows["PorTAL"]["acc_norm n"] == "3"
    assert rows["frozen base"]["recovered lift"] == ""


def test_the_page_is_well_formed_and_asks_nothing_of_the_network(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    page = Balance()
    page.feed(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert not re.search(r"@import|url\((?!#)", text)


def test_every_figure_is_drawn_inline_with_a_text_alternative_and_values(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert len(re.findall(r'<svg [^>]*role="img" aria-label="[^"]{20,}"', text)) == 12
    assert "per-task LoRA, 256 rows: " in text
    assert "<title>PorTAL, 8 rows: " in text


def test_the_page_says_what_was_run_and_what_is_missing(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert "Demo &lt;1&gt;" in text
    assert "loss is &lt;nan&gt; (log: x.log)" in text
    assert "per-task LoRA on mini-gemma3, size 64, seed 2" in text
    assert "A note &amp; more." in text
    assert "<dt>command</dt><dd>portal demo</dd>" in text


def test_the_tables_name_the_headline(report: Path) -> None:
    text = (report.parent / "tables.md").read_text(encoding="utf-8")
    assert re.search(
        r"On mini-qwen3-m, PorTAL recovers \d+\.\d % of the per-task LoRA's lift \(three seeds", text
    )
    assert "loss is <nan>" in text


@pytest.mark.slow
def test_the_same_results_give_the_same_bytes(report: Path, demo_results: Path, tmp_path: Path) -> None:
    write_report([ReportInput(demo_results, "demo", INFO)], tmp_path, ReportOptions(title="Demo <1>"))
    paths = [path for path in report.parent.rglob("*") if path.is_file()]
    assert len(paths) > 50
    for path in paths:
        name = path.relative_to(report.parent)
        assert (tmp_path / name).read_bytes() == path.read_bytes(), name


def test_a_study_with_only_a_base_and_a_port_reports_what_is_there(tmp_path: Path) -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    builder.add("portal", seed=0, size=8, rates=(0.5, 0.7))
    page = write_report([ReportInput(builder.write(tmp_path / "results"))], tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    assert "recovered lift is undefined (no per-task LoRA on this base)" in text
    assert "per-task LoRA on big: no finished run" in text
    assert "there are no intervals" in text


def test_a_study_with_only_source_runs_reports_them(tmp_path: Path) -> None:
    builder = StudyBuilder()
    for seed in (0, 1):
        builder.add("source", base="small", seed=seed, size=8, rates=(0.5,))
    page = write_report([ReportInput(builder.write(tmp_path / "results"))], tmp_path / "out")
    assert "Joint training on its own source bases" in page.read_text(encoding="utf-8")


def test_an_empty_result_table_is_a_one_line_mistake(tmp_path: Path) -> None:
    results = StudyBuilder().write(tmp_path / "results")
    with pytest.raises(ValueError, match="no finished run yet"):
        write_report([ReportInput(results)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_results_is_a_one_line_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"results\.parquet"):
        write_report([ReportInput(tmp_path)], tmp_path / "out")


def test_the_record_beside_the_tables_names_the_study_and_what_is_missing(tmp_path: Path) -> None:
    results = StudyBuilder(with_predictions=False)
    results.add("base")
    folder = results.write(tmp_path / "out" / "results")
    missing = AbsentRun(method="portal", base="big", seed=1, cause="out of memory")
    info = StudyInfo(facts={"study": "mine"}, missing=(missing,))
    (folder / STUDY_FILE).write_text(json.dumps(info.to_json()))
    text = write_report([ReportInput(folder)], tmp_path / "report").read_text(encoding="utf-8")
    assert "<title>PorTAL: mine</title>" in text
    assert "PorTAL on big, seed 1: out of memory" in text


def test_tables_without_a_record_are_named_after_their_folder(tmp_path: Path) -> None:
    results = StudyBuilder(with_predictions=False)
    results.add("base")
    page = write_report([ReportInput(results.write(tmp_path / "brought" / "results"))], tmp_path / "report")
    assert "<title>PorTAL: brought</title>" in page.read_text(encoding="utf-8")


def test_a_headline_chosen_among_variants_is_named_with_the_rule(tmp_path: Path) -> None:
    builder = study_of_ranks({2: 0.5, 8: 0.7, 16: 0.6})
    page = write_report([ReportInput(builder.write(tmp_path / "results"))], tmp_path / "report")
    text = page.read_text(encoding="utf-8")
    assert "On big, PorTAL (r8) q,v r8, of three variants the best on validation rows, recovers" in text
    assert "No test row takes part in that choice." in text


def test_a_headline_under_the_plain_name_needs_no_rule(tmp_path: Path) -> None:
    builder = study_of_ranks({16: 0.7}, portal=0.5)
    page = write_report([ReportInput(builder.write(tmp_path / "results"))], tmp_path / "report")
    text = page.read_text(encoding="utf-8")
    assert "On big, PorTAL q,v r8 recovers" in text
    assert "validation rows, recovers" not in text
    assert "takes part in that choice" not in text


def test_bases_with_names_that_collide_as_files_keep_their_own_figures(tmp_path: Path) -> None:
    builder = StudyBuilder(with_predictions=False, num_examples=20)
    for base in ("Org/Model", "org-model"):
        builder.add("base", base=base)
    page = write_report([ReportInput(builder.write(tmp_path / "results"))], tmp_path / "out")
    assert {path.name for path in page.parent.glob("methods-*.svg")} == {
        "methods-org-model.svg",
        "methods-org-model--2.svg",
    }
    parser = Balance()
    parser.feed(page.read_text(encoding="utf-8"))
    assert len(parser.ids) == len(set(parser.ids))


def test_the_terminal_summary_has_a_line_a_method_and_the_headline(demo_results: Path) -> None:
    text = summary_table(demo_results)
    assert re.search(r"^PorTAL +256 +0\.\d{3} ± 0\.\d{3} +3 +\d+\.\d % ", text, flags=re.MULTILINE)
    assert text.count("PorTAL recovers") == 2
    assert max(map(len, text.splitlines()[:3])) <= 100


def test_a_study_with_kinds_opens_with_them_and_folds_single_tasks(tmp_path: Path) -> None:
    builder, kinds = study_of_kinds(4, 8)
    study = ReportInput(builder.write(tmp_path / "results"), "kinds", StudyInfo(kinds=kinds))
    page = write_report([study], tmp_path / "report")
    names = {path.name for path in page.parent.iterdir()}
    assert {"kinds-big.svg", "tasks-big-1.svg", "tasks-big-2.svg"} <= names
    assert "tasks-big.svg" not in names
    text = page.read_text(encoding="utf-8")
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    opened = text.index("<h3>big: acc_norm by kind of task <a")
    folded = text.index("<summary>big: acc_norm by task <a")
    figures = text.index("<summary>big: acc_norm by task, as figures</summary>")
    assert opened < folded < figures
    assert text.count("<figure", figures) == 2
    assert "<dt>tasks</dt><dd>32 tasks of four kinds: kind00 (8), kind01 (8)," in text


def test_many_tasks_without_kinds_are_folded_and_few_lie_open(tmp_path: Path) -> None:
    for number, is_open in ((24, True), (25, False)):
        builder = StudyBuilder(
            tasks=tuple(f"t{place:02d}" for place in range(number)), num_examples=20, with_predictions=False
        )
        builder.add("base")
        page = write_report([ReportInput(builder.write(tmp_path / f"{number}"))], tmp_path / f"page-{number}")
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
