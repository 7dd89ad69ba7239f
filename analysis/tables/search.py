"""Tables of a search or a grid: how much each setting matters, and its best trials."""

from analysis.stats.bootstrap import Interval
from analysis.tables.columns import COUNT, PERCENT_RANGE, WORD, Column, Kind
from analysis.tables.table import Table
from portal.search_record import SearchRecord

MOST_TRIALS = 20
"""Trials in the table, the best first."""
_SHARE = Kind(lambda value: f"{100 * value:.0f} %")
_VALUE = Kind(lambda value: f"{value:.4f}")


def importance_table(record: SearchRecord, slug: str) -> Table | None:
    """A row per setting, the one that explains most first, with its value in the best trial."""
    if not record.importance:
        return None
    best = record.complete[0]
    rows = tuple(
        (name, each.share, Interval(each.share, each.low, each.high), best.text(name))
        for name, each in record.ranked
    )
    columns = (
        Column("setting", WORD),
        Column("share of the variance", _SHARE),
        Column("95 %", PERCENT_RANGE),
        Column(f"in the best {record.unit}", WORD),
    )
    title = f"{record.name}: what the score depends on, by {len(record.complete)} {record.unit}s"
    return Table(title, f"{slug}-importance", columns, rows)


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
