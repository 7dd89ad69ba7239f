"""Plain sentences on what methods save against the per-task LoRA, and where they are not shown to save."""

from collections.abc import Mapping, Sequence
from math import isclose

from analysis.report.sentences import capitalised, join_words
from analysis.stats.bootstrap import LEVEL
from analysis.stats.result_table import MethodKey
from analysis.stats.savings import Ratio, Saving, headline_savings
from analysis.tables.columns import format_amount
from portal.results import ACC_NORM

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
