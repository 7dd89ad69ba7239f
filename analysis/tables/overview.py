"""The table of all bases in the paper's form, with what the paper published for its own."""

from collections.abc import Iterable, Mapping, Sequence

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.lift import recovered_lift, retention
from analysis.stats.published import published_for
from analysis.stats.quantities import Spread
from analysis.tables.columns import PERCENT, SPREAD, WORD, Column
from analysis.tables.reasons import lift_reasons
from analysis.tables.table import Table
from portal.methods import LIFT_REFERENCES, find_method


def overview_table(comparisons: Sequence[Comparison]) -> Table:
    """One row per base, methods by their representatives; below some bases, what others published of them."""
    methods = _methods_of(comparisons)
    rows: list[tuple[object, ...]] = []
    reasons: list[str] = []
    for comparison in comparisons:
        shown = {method: comparison.representative(method) for method in methods}
        rows.append((comparison.base, *_fields(shown)))
        reasons += [
            f"{comparison.base}, {reason}"
            for reason in lift_reasons(comparison, filter(None, shown.values()))
        ]
        published = published_for(comparison.base)
        if published is not None:
            name = f"{comparison.base}, published ({published.source})"
            rows.append((name, *_published_fields(methods, published.accuracy)))
            if published.caveat is not None:
                reasons.append(f"{name}: {published.caveat}")
    columns = [Column("base", WORD)]
    for method in methods:
        label = find_method(method).label
        columns.append(Column(label, SPREAD))
        if method not in LIFT_REFERENCES:
            columns += [Column(f"{label}: lift", PERCENT), Column(f"{label}: retention", PERCENT)]
    words = {each.score_title for each in comparisons} or {"Accuracy"}
    word = words.pop() if len(words) == 1 else "Score"
    title = f"{word}, recovered lift and retention by base"
    return Table(title, "overview", tuple(columns), tuple(rows), tuple(reasons))


def _methods_of(comparisons: Sequence[Comparison]) -> list[str]:
    """All methods with results, and those that the paper published for one of the bases, in order."""
    published = [found.accuracy for each in comparisons if (found := published_for(each.base))]
    methods = {summary.cell.method for each in comparisons for summary in each.summaries}
    return sorted(methods.union(*published), key=lambda name: (find_method(name).order, name))


def _fields(shown: Mapping[str, MethodSummary | None]) -> list[object]:
    """Accuracy of every method, with lift and retention of those that have them."""
    fields: list[object] = []
    for method, summary in shown.items():
        fields.append(None if summary is None else summary.acc)
        if method not in LIFT_REFERENCES:
            fields += [None, None] if summary is None else [summary.lift, summary.retention]
    return fields


def _published_fields(methods: Iterable[str], accuracy: Mapping[str, Spread]) -> list[object]:
    """The same fields of the paper's numbers."""
    base, lora = (None if each is None else each.mean for each in map(accuracy.get, LIFT_REFERENCES))
    fields: list[object] = []
    for method in methods:
        own = accuracy.get(method)
        fields.append(own)
        if method not in LIFT_REFERENCES:
            mean = None if own is None else own.mean
            fields += [recovered_lift(mean, base, lora), retention(mean, lora)]
    return fields
