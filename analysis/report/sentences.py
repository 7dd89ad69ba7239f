"""Plain sentences on a study's findings, on what methods save, and the summary that a terminal shows."""

from collections.abc import Mapping, Sequence
from math import isclose
from pathlib import Path

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.bootstrap import LEVEL, Bootstrap, Interval, comparable_pairs, lift_interval
from analysis.stats.curves import Ratio, Saving, headline_savings
from analysis.stats.findings import Target, load_findings
from analysis.stats.result_table import Cell, MethodKey
from analysis.tables.accuracy import main_table, short_kinds_table
from analysis.tables.table import format_amount, format_percent, format_percent_range, format_points
from portal.methods import find_method
from portal.results import ACC_NORM

_NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def describe_difference(first: MethodSummary, second: MethodSummary, bootstrap: Bootstrap, word: str) -> str:
    """One plain sentence: which of two methods is better, or that they cannot be told apart."""
    interval = bootstrap.difference(first.cell, second.cell)
    seeds = len(bootstrap.shared_seeds(first.cell, second.cell))
    return state_difference(*distinct_names(first.cell, second.cell), interval, seeds, word)


def state_difference(first: str, second: str, interval: Interval, num_seeds: int, word: str) -> str:
    """One sentence on the interval of `first` minus `second`; `word` is what it is of, accuracy or score."""
    assert interval.value is not None
    at = f" at {count_seeds(num_seeds)}" if num_seeds else ""  # the frozen base has no seeds
    numbers = f"difference {format_points(interval.value)} points, {state_interval(interval)}"
    if not interval.excludes_zero:
        return capitalised(f"{first} and {second} are not distinguishable{at} ({numbers}).")
    verb = f"has a {'higher' if interval.value > 0 else 'lower'} {word} than"
    return capitalised(f"{first} {verb} {second}{at} ({numbers}).")


def state_interval(interval: Interval) -> str:
    """`95 % interval −1.2 to +0.4`, in points."""
    assert interval.low is not None
    assert interval.high is not None
    return f"{100 * LEVEL:.0f} % interval {format_points(interval.low)} to {format_points(interval.high)}"


def describe_methods(comparison: Comparison, bootstrap: Bootstrap) -> list[str]:
    """A sentence for every two methods, each by its representative."""
    methods = {summary.cell.method for summary in comparison.headline_summaries}
    shown = {each.cell for method in methods if (each := comparison.representative(method)) is not None}
    return [
        describe_difference(first, second, bootstrap, comparison.score_word)
        for first, second in comparable_pairs(comparison, bootstrap)
        if {first.cell, second.cell} <= shown
    ]


def compare_methods(target: Target) -> tuple[str, ...]:
    """Sentences on which methods of a target can be told apart; none without predictions."""
    return () if target.bootstrap is None else tuple(describe_methods(target.comparison, target.bootstrap))


def headline(target: Target) -> str:
    """One sentence: the lift that the target's port recovers, or why there is none."""
    port, comparison = target.port, target.comparison
    lift = None if port is None else lift_interval(port, comparison, target.bootstrap)
    return describe_port(comparison, port, lift)


def describe_port(comparison: Comparison, port: MethodSummary | None, lift: Interval | None) -> str:
    """One sentence: the lift that the port recovers, with interval and seeds, or why there is none."""
    base, frozen, lora = comparison.base, comparison.frozen_base, comparison.reference_lora
    if port is None:
        return describe_teaching(comparison) or f"{base}: no port on this base has results."
    if port.lift.value is None:
        return f"{base}: recovered lift is undefined ({port.lift.reason})."
    assert frozen is not None
    assert lora is not None
    return (
        f"On {base}, {comparison.name(port)}{state_choice(comparison, port)} recovers "
        f"{format_percent(port.lift)} of the per-task LoRA's lift "
        f"({count_seeds(port.acc.n)}{state_lift_interval(lift)}): {comparison.score_word} "
        f"{frozen.acc.mean:.3f} frozen, {port.acc.mean:.3f} ported, {lora.acc.mean:.3f} with a LoRA "
        "for each task."
    )


def describe_teaching(comparison: Comparison) -> str | None:
    """One sentence on a base that new tasks are taught on: with what, and how accurate; None for another."""
    methods = {each.cell.method for each in comparison.headline_summaries}
    specs = sorted(map(find_method, methods), key=lambda spec: spec.order)
    teaching = [spec for spec in specs if spec.teaches and not spec.lends_latents]
    if not teaching:
        return None
    named = {
        "frozen": comparison.frozen_base,
        **{f"with {spec.label}": comparison.representative(spec.name) for spec in teaching},
        "with a LoRA for each task": comparison.reference_lora,
    }
    known = {how: each.acc.mean for how, each in named.items() if each is not None}
    numbers = [f"{mean:.3f} {how}" for how, mean in known.items() if mean is not None]
    return (
        f"{comparison.base}: new tasks are taught on this base, {comparison.score_word} {', '.join(numbers)}."
    )


def state_choice(comparison: Comparison, summary: MethodSummary) -> str:
    """A clause on the choice of the summary to stand for its method; empty if it is the only candidate."""
    number = len(comparison.candidates(summary.cell.method))
    if number == 1:
        return ""
    word = count_words(number)
    if summary.validation_acc.mean is None:
        return f", the first of {word} variants (none has scores on validation rows),"
    return f", of {word} variants the best on validation rows,"


def state_lift_interval(lift: Interval | None) -> str:
    """`, 95 % interval 92 to 104 %`, or nothing where there is none."""
    if lift is None or lift.low is None:
        return ""
    return f", {100 * LEVEL:.0f} % interval {format_percent_range(lift)}"


def count_rows(size: int) -> str:
    """`one row`, `16 rows`."""
    return "one row" if size == 1 else f"{size:,} rows"


def distinct_names(first: Cell, second: Cell) -> tuple[str, str]:
    """Names for two cells, with modules and rank only where the method alone does not tell them apart."""
    if first.method != second.method:
        return with_article(first), with_article(second)
    return first.variant.full_name, second.variant.full_name


def with_article(cell: Cell) -> str:
    """`the per-task LoRA`, `PorTAL`."""
    label = cell.variant.label
    return f"the {label}" if find_method(cell.method).article else label


def join_words(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def count_seeds(number: int) -> str:
    """`one seed`, `three seeds`."""
    return f"{count_words(number)} seed{'' if number == 1 else 's'}"


def count_kinds(kinds: Mapping[str, Sequence[str]]) -> str:
    """`9 tasks of two kinds: colour (4), home (5)`, from the tasks of every kind."""
    listed = ", ".join(f"{kind} ({len(tasks)})" for kind, tasks in kinds.items())
    return f"{sum(map(len, kinds.values()))} tasks of {count_words(len(kinds))} kinds: {listed}"


def count_words(number: int) -> str:
    """`one`, `three`, `12`: words up to ten."""
    return _NUMBER_WORDS[number] if number < len(_NUMBER_WORDS) else str(number)


def capitalised(text: str) -> str:
    """The text with a capital letter first."""
    return text[0].upper() + text[1:]


_SAVED = {
    "size": "data",
    "rows": "data of all tasks",
    "train_flops": "computation",
    "wall_s": "training time",
}
_UNITS = {"size": "rows per task", "rows": "rows"}


def describe_savings(savings: Sequence[Saving], score_name: str = ACC_NORM) -> list[str]:
    """A text for every variant, ports first: what it needs for an accuracy, against the per-task LoRA.

    `savings` hold every variant at all shares of the LoRA's lift. The text is on the share that
    headline_savings finds, and says of higher ones, or of all, that the method is not shown to need less.
    """
    texts = []
    headlines = headline_savings(savings)
    variants = sorted({saving.variant for saving in headlines}, key=_ports_first)
    for variant in variants:
        shown = [saving for saving in headlines if saving.variant == variant]
        by_share = {
            saving.share: saving for saving in savings if (saving.variant, saving.axis) == (variant, "size")
        }
        texts.append(
            " ".join([_describe_need(shown, score_name), *_describe_others(by_share, shown[0].share)])
        )
    others = sorted({saving.variant for saving in savings}.difference(variants), key=_ports_first)
    if others:
        names = join_words([variant.full_name for variant in others])
        least = min(saving.share for saving in savings)
        verb = "does" if len(others) == 1 else "do"
        texts.append(capitalised(f"{names} {verb} not reach {_percent(least)} of the per-task LoRA's lift."))
    return texts


def _ports_first(variant: MethodKey) -> tuple[bool, tuple]:
    return not variant.spec.is_port or variant.spec.is_control, variant.sort_key()


def _describe_need(savings: Sequence[Saving], score_name: str) -> str:
    """A sentence on one variant at one share: what it needs on every axis."""
    first = savings[0]
    name = first.variant.full_name
    level = f"{_percent(first.share)} of the per-task LoRA's lift ({score_name} {first.accuracy:.3f})"
    known = [saving for saving in savings if saving.ratio.value is not None]
    if not known:
        return f"{name} reaches {level}; what it saves is not known: {first.ratio.interval.reason}."
    per_task = next((saving.ratio.value for saving in known if saving.axis == "size"), None)
    told = [saving for saving in known if saving.axis != "rows" or not _same(saving.ratio.value, per_task)]
    parts = [f"{state_times(saving.ratio)} {_SAVED[saving.axis]}{_compared(saving)}" for saving in told]
    return f"{name} reaches {level} with {join_words(parts)}."


def _describe_others(by_share: Mapping[float, Saving], shown: float) -> list[str]:
    """Sentences on shares at which the variant is not shown to need fewer rows per task."""
    if all(saving.ratio.interval.low is None for saving in by_share.values()):
        return []
    open_shares = [
        share
        for share, saving in by_share.items()
        if saving.needed is not None and not saving.ratio.is_above_one and not saving.ratio.is_below_one
    ]
    more = [(share, saving) for share, saving in by_share.items() if saving.ratio.is_below_one]
    missed = [share for share, saving in by_share.items() if saving.needed is None]
    sentences = []
    if not by_share[shown].ratio.is_above_one:
        shares = join_words([_percent(share) for share in by_share])
        sentences.append(f"At none of {shares} of that lift is it shown to need fewer rows per task.")
    elif any(share > shown for share in open_shares):
        shares = join_words([_percent(share) for share in open_shares if share > shown])
        sentences.append(f"At {shares} it is not shown to need fewer or more.")
    for share, saving in more:
        if share != shown:
            sentences.append(f"At {_percent(share)} it needs {state_times(saving.ratio)}{_compared(saving)}.")
    if missed:
        sentences.append(f"It does not reach {join_words([_percent(share) for share in missed])}.")
    return sentences


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _same(first: float | None, second: float | None) -> bool:
    return first is not None and second is not None and isclose(first, second, rel_tol=1e-9)


def state_times(ratio: Ratio) -> str:
    """`2.1 times less`, `at least 3 times less`, `1.4 times more`: a method's need against the LoRA's."""
    assert ratio.value is not None
    if 0.995 < ratio.value < 1.005:
        return "as much"
    less = ratio.value >= 1
    bound = {"\u2265": "at least ", "\u2264": "at most ", "": ""}[ratio.bound]
    if not less:
        bound = {"at least ": "at most ", "at most ": "at least "}.get(bound, bound)
    return (
        f"{bound}{format_amount(ratio.value if less else 1 / ratio.value)} times {'less' if less else 'more'}"
    )


def _compared(saving: Saving) -> str:
    """The two needs and the interval of their ratio, inverted where the ratio is."""
    assert saving.needed is not None
    facts = []
    if saving.axis in _UNITS:
        needs = f"{format_amount(saving.needed)} {_UNITS[saving.axis]}"
        facts.append(f"{needs} instead of {format_amount(saving.lora_needs)}")
    interval = state_times_interval(saving.ratio)
    if interval:
        facts.append(interval)
    return f" ({'; '.join(facts)})" if facts else ""


def state_times_interval(ratio: Ratio) -> str:
    """`95 % interval 1.5 to 2.2 times less`; one limit where the other is a bound, nothing without any."""
    low, high = ratio.interval.low, ratio.interval.high
    if low is None or high is None or ratio.value is None:
        return ""
    level = f"{100 * LEVEL:.0f} %"
    if ratio.missed > (1 - LEVEL) / 2 or low <= 0:
        return f"not reached in {100 * ratio.missed:.0f} % of draws, which leaves the interval open"
    if ratio.bound:
        limit = low if ratio.bound == "\u2265" else high
        return f"{level} limit: {'at least' if limit == low else 'at most'} {format_amount(limit)} times"
    if ratio.low_bound or ratio.high_bound:
        sides = [f"at most {format_amount(low)}" if ratio.low_bound else format_amount(low)]
        sides.append(f"at least {format_amount(high)}" if ratio.high_bound else format_amount(high))
        return f"{level} interval of the ratio {' to '.join(sides)}"
    if (low >= 1) == (high >= 1):
        less, more = (low, high) if low >= 1 else (1 / high, 1 / low)
        word = "less" if low >= 1 else "more"
        return f"{level} interval {format_amount(less)} to {format_amount(more)} times {word}"
    return f"{level} interval {format_amount(1 / low)} times more to {format_amount(high)} times less"


_COLUMNS = ("method", "size", "{score}", "seeds", "recovered lift", "lift: 95 %", "log-loss")


def summary_table(results: Path) -> str:
    """The main table of every target base as plain text, each with its headline; no trailing newline.

    Where tasks share kinds, a table of these follows; single tasks are left to the report.

    `results` is the folder of a study's collected tables. Raises ValueError as `write_report` does.
    """
    return "\n\n".join(_target_text(target) for target in load_findings(results).targets)


def _target_text(target: Target) -> str:
    table = main_table(target).select(*(name.format(score=target.score_name) for name in _COLUMNS))
    text = f"{table.title}\n{table.to_text()}\n{headline(target)}"
    kinds = short_kinds_table(target)
    return text if kinds is None else f"{text}\n\n{kinds.title}\n{kinds.to_text()}"
