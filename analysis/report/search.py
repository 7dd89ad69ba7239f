"""The section of a report on a search: which setting mattered."""

from analysis.figures.search import draw_contour, draw_parallel
from analysis.report.document import Block, Section
from analysis.tables.search import importance_table, trials_table
from portal.search_record import SearchRecord

_HOW = (
    "A setting's share is the part of the variance of the score that it explains alone, over the ranges that "
    "were searched, in a random forest fitted to the trials (fANOVA); the rest is explained by several "
    "together. Intervals (95 %) are of halves of the trials. Trials that were stopped early have no part."
)


def search_section(record: SearchRecord) -> Section | None:
    """What the search says of its settings; None before any trial has come to its end."""
    if not record.complete:
        return None
    drawings = filter(None, (draw_parallel(record), draw_contour(record)))
    table = importance_table(record)
    block = Block(
        lead=(_HOW,) if record.unknown is None else (),
        tables=() if table is None else (table,),
        drawings=tuple(drawings),
        folded=(trials_table(record),),
    )
    return Section("Which setting mattered", (block,), _headline(record))


def _headline(record: SearchRecord) -> str:
    counts = f"{len(record.complete)} of {len(record.trials)} trials of {record.name} came to their end."
    if record.unknown is not None:
        return f"{counts} Which setting mattered is not known: {record.unknown}."
    (name, first), *others = record.ranked
    told = f"{counts} {name} explains {100 * first.share:.0f} % of the variance of {record.metric} alone"
    if not others:
        return f"{told}."
    rival, most = max(others, key=lambda item: item[1].high)
    if first.low > most.high:
        return f"{told}, more than any other."
    return f"{told}; whether it matters more than {rival} ({100 * most.share:.0f} %) cannot be told."
