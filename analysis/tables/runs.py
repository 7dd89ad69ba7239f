"""Tables on single runs: all of a study, and of one its scores, neighbours and wrong answers."""

from collections.abc import Sequence

from analysis.stats.run_summaries import Neighbour, RunSummary
from analysis.stats.shown_answers import ShownAnswer
from analysis.tables.columns import COUNT, NUMBER, POINTS, SECONDS, TEXT, VERDICT, WORD, Column
from analysis.tables.table import Table
from analysis.tables.texts import shown_end, shown_start

_MOST_DIFFERENCES = 4


def page_of(key: str) -> str:
    """The file of a run's page, beside that of all runs."""
    return f"{key}.html"


def runs_table(summaries: Sequence[RunSummary], score_name: str) -> Table:
    """A row for each planned run, with a link to its page."""
    columns = (
        Column("run", WORD),
        Column("method", WORD),
        Column("base", WORD),
        Column("state", VERDICT),
        Column("rows per task", COUNT),
        Column("seed", COUNT),
        Column(score_name, NUMBER),
        Column("log-loss", NUMBER),
        Column("training s", SECONDS),
    )
    rows = tuple(
        (
            each.key,
            each.detail.label,
            "+".join(base["name"] for base in each.detail.settings["bases"]),
            each.detail.state,
            each.runs[0].cell.size if each.runs else None,
            each.detail.settings["seed"],
            each.score,
            each.log_loss,
            each.runs[0].cost.wall_s if each.runs else None,
        )
        for each in summaries
    )
    reasons = [f"{each.key}: {each.reason}" for each in summaries if each.score is None and each.reason]
    links = {"run": tuple(page_of(each.key) for each in summaries)}
    return Table("All runs", "runs", columns, rows, tuple(reasons), links=links)


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
    columns = (
        Column("run", WORD),
        Column("method", WORD),
        Column("its settings, where they differ", TEXT),
        Column(score_name, NUMBER),
        Column("difference, points", POINTS),
    )
    rows = tuple(
        (
            each.summary.key,
            each.summary.detail.label,
            _tell(each),
            each.summary.score,
            _difference(each.summary.score, summary.score),
        )
        for each in neighbours
    )
    links = {"run": tuple(page_of(each.summary.key) for each in neighbours)}
    title = "Runs of the method with the fewest other settings"
    reason = "difference: the other run's score less this one's, on the tasks of each"
    return Table(title, "neighbours", columns, rows, (reason,), links=links)


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
    columns = (
        Column("task", WORD),
        Column("row", WORD),
        Column("prompt", TEXT),
        Column("right answer", TEXT),
        Column("its answer", TEXT),
        Column("worth", NUMBER),
        Column("lead of the right one", NUMBER),
    )
    rows = tuple(
        (
            each.task,
            each.example,
            shown_end(each.prompt) or None,
            shown_start(each.right),
            shown_start(each.text),
            each.worth,
            each.lead,
        )
        for each in answers
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
    return Table(title, "wrong", columns, rows, tuple(reasons))
