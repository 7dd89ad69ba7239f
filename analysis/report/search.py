"""What a report says of the settings of a search, or of a grid that a study has run: which one mattered."""

from dataclasses import replace

from analysis.figures.search import draw_contour, draw_parallel
from analysis.report.document import Block, Section
from analysis.tables.search import importance_table, trials_table
from portal.messages import counted
from portal.search_record import SearchRecord

TITLE = "Which setting mattered"
_HOW = (
    "A setting's share is the part of the variance of the score that it explains alone, over {values}, in a "
    "random forest fitted to the {unit}s (fANOVA); the rest is explained by several together. Intervals "
    "(95 %) are of halves of the {unit}s."
)
_RANGES = "the ranges that were searched"
_LEVELS = "the values in the study, each weighed alike"
_STOPPED = "Trials that were stopped early have no part."
_TOGETHER = "Settings that always change together are one here, named by the first of them."
_CHANCE = "The seed is a setting: its share is what chance is worth."


def search_section(record: SearchRecord) -> Section | None:
    """What the search says of its settings; None before any trial has come to its end."""
    if not record.complete:
        return None
    how = f"{_HOW.format(values=_RANGES, unit=record.unit)} {_STOPPED}"
    return Section(TITLE, (_block(record, "search", how),), _headline(record))


def grid_block(record: SearchRecord, slug: str) -> Block:
    """What a method's runs say of their settings; `slug` is the base's part in file names."""
    how = f"{_HOW.format(values=_LEVELS, unit=record.unit)} {_TOGETHER}"
    if "seed" in record.importance:
        how = f"{how} {_CHANCE}"
    block = _block(record, f"grid-{record.method}-{slug}", how)
    return replace(block, title=f"{TITLE}: {record.name}", lead=(_headline(record), *block.lead))


def _block(record: SearchRecord, slug: str, how: str) -> Block:
    drawings = filter(None, (draw_parallel(record, slug), draw_contour(record, slug)))
    table = importance_table(record, slug)
    return Block(
        lead=(how,) if record.unknown is None else (),
        tables=() if table is None else (table,),
        drawings=tuple(drawings),
        folded=(trials_table(record, slug),),
    )


def _headline(record: SearchRecord) -> str:
    counts = _counts(record)
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


def _counts(record: SearchRecord) -> str:
    """How many trials or runs there are to tell by."""
    count, all_ = len(record.complete), len(record.trials)
    if record.unit == "trial":
        return f"{count} of {all_} trials of {record.name} came to their end."
    without = f"; {all_ - count} more without validation rows" if all_ > count else ""
    return f"{counted(count, 'run')} of {record.name}{without}."
