"""Plain sentences on a study's findings: which methods can be told apart, and what a port recovers."""

from collections.abc import Mapping, Sequence

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.bootstrap import LEVEL, Bootstrap, Interval
from analysis.stats.findings import Target
from analysis.stats.lift_intervals import comparable_pairs, lift_interval
from analysis.stats.result_table import Cell
from analysis.tables.columns import format_percent, format_percent_range, format_points
from portal.methods import find_method

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
