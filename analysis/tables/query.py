"""The table of a query's answers: a row per group, the query's columns first."""

from analysis.stats.query import WORDS, Query
from analysis.stats.result_table import ResultSet
from analysis.tables.columns import COUNT, NUMBER, WORD, Column
from analysis.tables.table import Table


def query_table(study: ResultSet, query: Query) -> Table:
    """Mean scores of all groups that the query's columns make; ValueError as `Query.answer`."""
    found = query.answer(study)
    columns = [Column(name, WORD if name in (*WORDS, "trained_on") else COUNT) for name in query.by]
    columns += [Column(study.score_name, NUMBER), Column("log-loss", NUMBER)]
    columns += [Column("tasks", COUNT), Column("runs", COUNT)]
    rows = tuple(
        (*each.group, each.score, each.log_loss, each.tasks, len(each.runs)) for each in found.groups
    )
    reasons = tuple(f"run {run} is left out: {why}" for run, why in found.left_out.items())
    return Table("Scores that meet the query", "query", tuple(columns), rows, reasons)
