"""Tables on single runs and rows, and on the trials of a search or a grid."""

from collections.abc import Sequence

from analysis.stats.answers import ShownAnswer
from analysis.stats.bootstrap import Interval
from analysis.stats.contrasts import Contrast
from analysis.stats.findings import Neighbour, RunSummary, Target
from analysis.tables.table import (
    COUNT,
    NUMBER,
    PERCENT_RANGE,
    POINTS,
    SECONDS,
    TEXT,
    VERDICT,
    WORD,
    Column,
    Fields,
    Kind,
    Table,
)
from portal.search_record import Importance, SearchRecord

_MOST_DIFFERENCES = 4


def page_of(key: str) -> str:
    """The file of a run's page, beside that of all runs."""
    return f"{key}.html"


def runs_table(summaries: Sequence[RunSummary], score_name: str) -> Table:
    """A row for each planned run, with a link to its page."""
    fields: Fields[RunSummary] = (
        ("run", WORD, lambda each: each.key),
        ("method", WORD, lambda each: each.detail.label),
        ("base", WORD, lambda each: "+".join(base["name"] for base in each.detail.settings["bases"])),
        ("state", VERDICT, lambda each: each.detail.state),
        ("rows per task", COUNT, lambda each: each.runs[0].cell.size if each.runs else None),
        ("seed", COUNT, lambda each: each.detail.settings["seed"]),
        (score_name, NUMBER, lambda each: each.score),
        ("log-loss", NUMBER, lambda each: each.log_loss),
        ("training s", SECONDS, lambda each: each.runs[0].cost.wall_s if each.runs else None),
    )
    reasons = [f"{each.key}: {each.reason}" for each in summaries if each.score is None and each.reason]
    links = {"run": tuple(page_of(each.key) for each in summaries)}
    return Table.of("All runs", "runs", summaries, fields, reasons=reasons, links=links)


def task_scores_table(summary: RunSummary, score_name: str) -> Table:
    """The run's scores by task and base on test rows, at the reported epochs."""
    columns = (
        Column("task", WORD),
        Column("base", WORD),
        Column("trained on", WORD),
        Column("epoch", COUNT),
        Column("test rows", COUNT),
        Column("chance", NUMBER),
        Column(score_name, NUMBER),
        Column("log-loss", NUMBER),
    )
    rows = tuple(
        (
            task,
            run.cell.base,
            "no" if task in run.without_rows else "yes" if task in run.train_rows else None,
            summary.epochs[run.cell.base][task],
            score.num_examples,
            score.chance,
            score.score,
            score.log_loss,
        )
        for run in summary.runs
        for task, score in sorted(summary.scores(run).items())
    )
    return Table("Scores by task", "scores", columns, rows)


def neighbours_table(summary: RunSummary, neighbours: Sequence[Neighbour], score_name: str) -> Table | None:
    """Runs with the fewest other settings; None where no other run of the method is done."""
    if not neighbours:
        return None
    fields: Fields[Neighbour] = (
        ("run", WORD, lambda each: each.summary.key),
        ("method", WORD, lambda each: each.summary.detail.label),
        ("its settings, where they differ", TEXT, _tell),
        (score_name, NUMBER, lambda each: each.summary.score),
        ("difference, points", POINTS, lambda each: _difference(each.summary.score, summary.score)),
    )
    links = {"run": tuple(page_of(each.summary.key) for each in neighbours)}
    title = "Runs of the method with the fewest other settings"
    reason = "difference: the other run's score less this one's, on the tasks of each"
    return Table.of(title, "neighbours", neighbours, fields, reasons=(reason,), links=links)


def _difference(other: float | None, own: float | None) -> float | None:
    return None if other is None or own is None else other - own


def _tell(neighbour: Neighbour) -> str:
    shown = [f"{name} {theirs} (here {own})" for name, own, theirs in neighbour.differences]
    more = len(shown) - _MOST_DIFFERENCES
    told = "; ".join(shown[:_MOST_DIFFERENCES]) or "none"
    return f"{told}; {more} more" if more > 0 else told


def wrong_answers_table(answers: Sequence[ShownAnswer], wrong: int, total: int) -> Table | None:
    """The answers that are not right, those of least worth and furthest off first; None without any."""
    if not answers:
        return None
    fields: Fields[ShownAnswer] = (
        ("task", WORD, lambda each: each.task),
        ("row", WORD, lambda each: each.example),
        ("prompt", TEXT, lambda each: shown_end(each.prompt) or None),
        ("right answer", TEXT, lambda each: shown_start(each.right)),
        ("its answer", TEXT, lambda each: shown_start(each.text)),
        ("worth", NUMBER, lambda each: each.worth),
        ("lead of the right one", NUMBER, lambda each: each.lead),
    )
    title = f"Answers worth less than 1: {wrong:,} of {total:,}"
    reasons = []
    if any(each.lead is not None for each in answers):
        reasons.append(
            "lead: the log-likelihood of the right choice less that of the best other one, each divided by "
            "its length as the score does, in nats"
        )
    if len(answers) < wrong:
        title += f", the {len(answers)} furthest off"
    if any(not each.prompt for each in answers):
        reasons.append("prompts and choices: the study was launched by a version that kept no texts")
    return Table.of(title, "wrong", answers, fields, reasons=reasons)


def contrasts_table(target: Target, pages: str | None = None) -> Table | None:
    """A row for each, those first that the port answers worse; None without any.

    With `pages`, the folder of the pages of runs, answers lead to the run that gave them.
    """
    if not target.contrasts:
        return None
    fields: Fields[Contrast] = (
        ("task", WORD, lambda each: each.port.task),
        ("row", WORD, lambda each: each.port.example),
        ("prompt", TEXT, lambda each: shown_end(each.port.prompt)),
        ("right answer", TEXT, lambda each: shown_start(each.port.right)),
        ("port", TEXT, lambda each: shown_start(each.port.text)),
        ("per-task LoRA", TEXT, lambda each: shown_start(each.lora.text)),
        ("worth: port", NUMBER, lambda each: each.port.worth),
        ("worth: LoRA", NUMBER, lambda each: each.lora.worth),
    )
    title = f"{target.base}: rows of unlike worth to port and per-task LoRA (one seed)"
    links = {}
    if pages is not None:
        for place, name in enumerate(("port", "per-task LoRA")):
            links[name] = tuple(f"{pages}/{page_of(each.runs[place])}" for each in target.contrasts)
    return Table.of(title, f"contrasts-{target.slug}", target.contrasts, fields, links=links)


MOST_TRIALS = 20
"""Trials in the table, the best first."""
_SHARE = Kind(lambda value: f"{100 * value:.0f} %")
_VALUE = Kind(lambda value: f"{value:.4f}")


def importance_table(record: SearchRecord, slug: str) -> Table | None:
    """A row per setting, the one that explains most first, with its value in the best trial."""
    if not record.importance:
        return None
    best = record.complete[0]
    fields: Fields[tuple[str, Importance]] = (
        ("setting", WORD, lambda ranked: ranked[0]),
        ("share of the variance", _SHARE, lambda ranked: ranked[1].share),
        ("95 %", PERCENT_RANGE, lambda ranked: Interval(ranked[1].share, ranked[1].low, ranked[1].high)),
        (f"in the best {record.unit}", WORD, lambda ranked: best.text(ranked[0])),
    )
    title = f"{record.name}: what the score depends on, by {len(record.complete)} {record.unit}s"
    return Table.of(title, f"{slug}-importance", record.ranked, fields)


def trials_table(record: SearchRecord, slug: str) -> Table:
    """The best trials that came to their end, with all of their settings."""
    known = sorted({name for trial in record.trials for name in trial.settings})
    names = list(dict.fromkeys([*(name for name, _ in record.ranked if name in known), *known]))
    is_numbered = record.unit == "trial"
    columns = tuple(Column(name, WORD) for name in names)
    if is_numbered:
        columns = (Column(record.unit, COUNT), *columns)
    rows = tuple(
        (*([trial.number] if is_numbered else []), *(trial.text(name) for name in names), trial.value)
        for trial in record.complete[:MOST_TRIALS]
    )
    of = f"{len(rows)} of {len(record.complete)} {record.unit}s"
    title = f"{record.name}: the best {of}, {record.metric} on validation rows"
    return Table(title, f"{slug}-trials", (*columns, Column(record.metric, _VALUE)), rows)


MOST_CHARS = 240
"""Characters of a text that are shown."""


def shown_start(text: str) -> str:
    """The first characters, in one line."""
    line = _one_line(text)
    return line if len(line) <= MOST_CHARS else f"{line[:MOST_CHARS]} ..."


def shown_end(text: str) -> str:
    """The last characters, in one line."""
    line = _one_line(text)
    return line if len(line) <= MOST_CHARS else f"... {line[-MOST_CHARS:]}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
