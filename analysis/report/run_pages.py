"""The pages of a study's single runs, and the page that lists them all."""

from collections.abc import Iterator, Mapping
from math import fsum

from analysis.figures.curves import Line, LineChart
from analysis.report.html import Block, Facts, ReportDocument, Section, Tile
from analysis.stats.answers import ShownAnswers
from analysis.stats.findings import Findings, Neighbourhood, RunSummary, shown_settings, summarise_runs
from analysis.stats.result_table import Run
from analysis.tables.runs import neighbours_table, page_of, runs_table, task_scores_table, wrong_answers_table
from analysis.tables.table import format_number
from portal.results import Fact

PAGES_FOLDER, RUNS_PAGE = "runs", "index.html"
MOST_WRONG, MOST_NEIGHBOURS = 40, 12
_FOOTER = "The report of the whole study is one folder up."
_LINKS = (("../index.html", "Report"), (RUNS_PAGE, "All runs"))
_CURVES = {"test": "test rows", "validation": "validation rows"}


def run_pages(findings: Findings, title: str) -> Iterator[tuple[str, ReportDocument]]:
    """The file and the content of each page; none where the study's tables do not tell of single runs.

    Scores are on the tasks that the study is about, on test rows at the reported epochs.
    """
    if not findings.details:
        return
    summaries = summarise_runs(findings.study, findings.details)
    yield RUNS_PAGE, _list_of_runs(findings, summaries, title)
    neighbourhood, answers = Neighbourhood(summaries), _answers(findings, summaries)
    for summary in summaries:
        yield page_of(summary.key), _page(findings, summary, neighbourhood, answers)


def _answers(findings: Findings, summaries: tuple[RunSummary, ...]) -> ShownAnswers:
    """Those of all runs on one base each: predictions do not tell the bases of others apart."""
    single = [each for each in summaries if each.score is not None and not _has_several_bases(each)]
    runs = {each.key: each.runs[0] for each in single}
    epochs = {each.key: next(iter(each.epochs.values())) for each in single}
    return ShownAnswers(findings.predictions, findings.generations, findings.questions, runs, epochs)


def _list_of_runs(findings: Findings, summaries: tuple[RunSummary, ...], title: str) -> ReportDocument:
    states = [each.detail.state for each in summaries]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    table = runs_table(summaries, findings.study.score_name)
    return ReportDocument(
        title=f"{title}: all runs",
        lead=f"{len(summaries)} runs: {counts}. Scores are means over tasks on test rows, at the reported "
        "epoch.",
        tiles=(),
        sections=(Section("All runs", (Block(tables=(table,)),)),),
        facts=(),
        absent=None,
        footer=_FOOTER,
        links=_LINKS[:1],
    )


def _page(
    findings: Findings, summary: RunSummary, neighbourhood: Neighbourhood, answers: ShownAnswers
) -> ReportDocument:
    detail, score_name = summary.detail, findings.study.score_name
    sections = []
    if charts := tuple(_charts(summary, score_name)):
        sections.append(Section("Curves", (Block(charts=charts),)))
    if summary.score is not None:
        sections.append(Section("Scores", (Block(tables=(task_scores_table(summary, score_name),)),)))
    neighbours = neighbours_table(summary, neighbourhood.of(summary, MOST_NEIGHBOURS), score_name)
    if neighbours is not None:
        sections.append(Section("Neighbours", (Block(tables=(neighbours,)),)))
    if summary.score is not None and (wrong := _wrong_section(findings, summary, answers)) is not None:
        sections.append(wrong)
    if detail.log:
        sections.append(Section("Log", (Block(lines=detail.log),), "The last lines on the run's pack."))
    label = "" if detail.label == detail.settings["method"] else f" ({detail.label})"
    return ReportDocument(
        title=f"Run {detail.run}: {detail.name}{label}",
        lead=_state(summary),
        tiles=tuple(_tiles(summary, score_name)),
        sections=tuple(sections),
        facts=(Facts("Settings", _facts(summary), {}),),
        facts_title="Settings",
        absent=None,
        footer=_FOOTER,
        links=_LINKS,
    )


def _state(summary: RunSummary) -> str:
    detail = summary.detail
    if detail.state == "done":
        return "The run is done." if summary.reason is None else f"The run is done; {summary.reason}."
    cause = detail.cause or ""
    if detail.state in ("paused", "stopped"):
        return f"{cause[:1].upper()}{cause[1:]}."
    told = {"failed": "The run failed", "missing": "The run has no result yet"}[detail.state]
    return f"{told}: {cause}" if cause else f"{told}."


def _tiles(summary: RunSummary, score_name: str) -> Iterator[Tile]:
    if summary.score is None:
        return
    where = " and ".join(run.cell.base for run in summary.runs)
    yield Tile(format_number(summary.score), score_name, f"mean over tasks on test rows, on {where}")
    yield Tile(format_number(summary.log_loss), "log-loss", "nats per token of the right answers")


def _wrong_section(findings: Findings, summary: RunSummary, answers: ShownAnswers) -> Section | None:
    if _has_several_bases(summary):
        return Section("Wrong answers", (), "Answers of a run on several bases are not told apart by base.")
    if findings.predictions is None and findings.generations is None:
        return None
    wrong, total = answers.count_wrong(summary.key)
    table = wrong_answers_table(answers.worst(summary.key, MOST_WRONG), wrong, total)
    return None if table is None else Section("Wrong answers", (Block(tables=(table,)),))


def _has_several_bases(summary: RunSummary) -> bool:
    return len(summary.detail.settings["bases"]) > 1


def _charts(summary: RunSummary, score_name: str) -> Iterator[LineChart]:
    """The training loss by step, and scores and log-losses by epoch where several were scored."""
    losses, train = summary.detail.losses, summary.detail.settings.get("train") or {}
    if len(losses) > 1:
        yield LineChart(
            (Line("training loss", losses),),
            "steps",
            "training loss" if train.get("choice_loss") else "loss, nats per token",
            "Loss while training: the mean over the tasks and bases of a step, over stretches of steps.",
            f"From {losses[0][1]:.3f} to {losses[-1][1]:.3f} in {losses[-1][0]:,} steps.",
        )
    for run in summary.runs:
        for name, label in (("score", score_name), ("log_loss", "log-loss, nats per token")):
            lines = tuple(_lines_by_epoch(run, name))
            if max((len(line.points) for line in lines), default=0) > 1:
                ends = "; ".join(f"{line.name}: {line.points[-1][1]:.3f} at last" for line in lines)
                caption = (
                    f"{label} on {run.cell.base} by epoch, the mean over tasks; epoch 0 is before training."
                )
                yield LineChart(lines, "epoch", label, caption, f"{ends}.")


def _lines_by_epoch(run: Run, name: str) -> Iterator[Line]:
    """Of each split, the mean over tasks at every epoch that has all of them."""
    for split, told in _CURVES.items():
        points = []
        for epoch, scores in sorted(run.scores.get(split, {}).items()):
            if set(scores) == set(run.tasks):
                values = [getattr(score, name) for score in scores.values()]
                points.append((epoch, fsum(values) / len(values)))
        if points:
            yield Line(told, points)


def _facts(summary: RunSummary) -> Mapping[str, Fact]:
    """Cost, device, memory, and all settings that are set."""
    detail = summary.detail
    facts: dict[str, Fact] = {"state": detail.state}
    if summary.runs:
        cost = summary.runs[0].cost
        if cost.wall_s is not None:
            facts["training"] = f"{cost.wall_s:,.1f} s, its share of its pack's time"
        if cost.trained_params is not None:
            facts["trained parameters"] = f"{cost.trained_params:,}"
    if detail.device is not None:
        facts["device"] = detail.device
    if detail.threads is not None:
        facts["CPU threads"] = str(detail.threads)
    if detail.operations:
        facts["operations of bases"] = ", ".join(detail.operations)
    if detail.peak_bytes is not None:
        facts["most memory of its process"] = f"{detail.peak_bytes / 1e9:.2f} GB"
    return facts | shown_settings(detail.settings)
