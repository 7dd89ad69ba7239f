"""Metrics of written answers: how good one is beside the right ones, 0 to 1, higher is better."""

import importlib
import json
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any

from portal.evaluate.code_sandbox import check_sandbox, passes
from portal.messages import nearest
from portal.tasks.lm_eval import LM_EVAL

Measure = Callable[[str, Sequence[str]], float]
"""From the answer and the right answers to a number from 0 to 1."""


def find_metric(name: str) -> Measure:
    """The measure that METRICS or an import path `module:function` names, or `lm-eval:TASK`: that task's own.

    ValueError for anything else, and for one that cannot be computed here.
    """
    check_metric_name(name)
    if name in METRICS:
        measure = METRICS[name]
        if measure is rouge_l:
            _rouge_scorer()
        if measure is pass_at_1:
            check_sandbox()
        return measure
    if name.startswith(LM_EVAL):
        from portal.tasks.lm_eval import lm_eval_measure

        own: Measure = lm_eval_measure(name.removeprefix(LM_EVAL))
        return own
    module, _, function = name.partition(":")
    try:
        measure = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ValueError(f"metric {name!r}: cannot be imported ({error})") from None
    if not callable(measure):
        raise ValueError(f"metric {name!r}: not a function")
    return measure


def check_metric_name(name: str) -> None:
    """ValueError for a name that is neither in METRICS nor a place to import from."""
    if name not in METRICS and ":" not in name:
        raise ValueError(
            f"unknown metric {name!r}{nearest(name, METRICS)}: one of {', '.join(METRICS)}, or a function of "
            "your own as module:function"
        )


def judged_part(text: str, pattern: str | None) -> str:
    """What of an answer is judged: its last match of `pattern`, its first group if it has one, without white
    space around it; the whole where there is no pattern, and nothing where none matches.
    """
    if pattern is None:
        return text
    found = list(re.finditer(pattern, text))
    if not found:
        return ""
    last = found[-1]
    return (last.group(1 if last.re.groups else 0) or "").strip()


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces (Rajpurkar et al., 2016, arXiv:1606.05250)."""
    kept = "".join(each for each in text.lower() if each not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def exact_match(text: str, references: Sequence[str]) -> float:
    """1 if the normalised answer is one of the normalised references."""
    return float(_plain(text) in {_plain(reference) for reference in references})


def token_f1(text: str, references: Sequence[str]) -> float:
    """The highest F1 of normalised words over the references (Rajpurkar et al., 2016, arXiv:1606.05250)."""
    return max(_f1(normalise(text).split(), normalise(reference).split()) for reference in references)


def rouge_l(text: str, references: Sequence[str]) -> float:
    """The highest F-measure of the longest common subsequence of words over the references (Lin, 2004,
    "ROUGE: A Package for Automatic Evaluation of Summaries").
    """
    scorer = _rouge_scorer()
    return max(float(scorer.score(reference, text)["rougeL"].fmeasure) for reference in references)


def numeric_match(text: str, references: Sequence[str]) -> float:
    """1 if the answer's last number is the last number of a reference; signs of money and of thousands are no
    part of a number.
    """
    found = _last_number(text)
    return float(found is not None and found in {_last_number(reference) for reference in references})


def json_valid(text: str, references: Sequence[str]) -> float:
    """1 if the answer is JSON."""
    return float(_parsed(text) is not _NO_JSON)


def json_f1(text: str, references: Sequence[str]) -> float:
    """The highest F1 of the fields of JSON values over the references: a field is a path and a value.

    ValueError for a reference that is no JSON.
    """
    if any(_parsed(reference) is _NO_JSON for reference in references):
        raise ValueError("a reference is no JSON")
    found = _parsed(text)
    if found is _NO_JSON:
        return 0.0
    return max(_f1(_fields(found), _fields(_parsed(reference))) for reference in references)


def contains(text: str, references: Sequence[str]) -> float:
    """1 if the normalised answer holds a normalised reference as whole words."""
    words = f" {normalise(text)} "
    return float(any(f" {_plain(reference)} " in words for reference in references))


def regex(text: str, references: Sequence[str]) -> float:
    """1 if the whole answer matches a reference, which is a regular expression; re.error for another one."""
    return float(any(re.fullmatch(reference, text.strip(), re.DOTALL) for reference in references))


def pass_at_1(text: str, references: Sequence[str]) -> float:
    """1 if the answer is a program that passes all of the references, which are tests (Chen et al., 2021,
    arXiv:2107.03374, with k = 1).

    A test runs after the answer, without the space that parts that from its prompt, or holds it at
    `{answer}`. ValueError where no program may run.
    """
    own = text.removeprefix(" ")
    return float(
        all(
            passes(test.replace("{answer}", text) if "{answer}" in test else f"{own}\n{test}")
            for test in references
        )
    )


def waits_for_programs(measure: Measure) -> bool:
    """Whether the measure's time is that of other processes, so that several answers are judged at once."""
    return measure is pass_at_1


METRICS: Mapping[str, Measure] = {
    each.__name__: each
    for each in (
        exact_match, token_f1, rouge_l, numeric_match, json_valid, json_f1, contains, regex, pass_at_1,
    )
}  # fmt: skip
"""By the name that a task file or config gives them."""

_NO_JSON = object()
_NUMBER = r"(?<![\d.])-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"


def _plain(text: str) -> str:
    """The normalised text; of a text that has nothing else, its signs and articles."""
    return normalise(text) or " ".join(text.lower().split())


def _f1(found: Sequence[Any], wanted: Sequence[Any]) -> float:
    """F1 of two multisets; 1 where both are empty."""
    if not found or not wanted:
        return float(not found and not wanted)
    shared = (Counter(found) & Counter(wanted)).total()
    return 2 * shared / (len(found) + len(wanted))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return _NO_JSON


def _fields(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[Any, str]]:
    """The leaves of a JSON value, each with its path; an item of a list has the list's."""
    if isinstance(value, dict) and value:
        return [leaf for key, each in value.items() for leaf in _fields(each, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for each in value for leaf in _fields(each, (*path, 0))]
    return [(path, json.dumps(value))]


def _last_number(text: str) -> Decimal | None:
    found = re.findall(_NUMBER, re.sub(r"[$€£](?=[\d.])", "", text))
    return Decimal(found[-1].replace(",", "")) if found else None


@cache
def _rouge_scorer() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ModuleNotFoundError:
        raise ValueError(
            "metric 'rouge_l' needs the package rouge-score: pip install 'portal-sweeps[rouge]'"
        ) from None
    return RougeScorer(["rougeL"], use_stemmer=False)
