"""Metrics of written answers: by hand, beside rouge-score and lm-eval, and between 0 and 1."""

import json
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lm_eval.api.metrics import exact_match_fn
from rouge_score.rouge_scorer import RougeScorer

from portal.evaluate.text_metrics import METRICS, find_metric, judged_part, normalise

TEXTS = st.text(max_size=30)


def test_a_metric_is_what_one_works_out_by_hand() -> None:
    for metric, text, references, value in (
        ("exact_match", "The Paris.", ["paris"], 1.0),
        ("exact_match", "Paris, France", ["Paris", "Rome"], 0.0),
        ("token_f1", "a big red dog", ["red dog", "blue dog"], 0.8),
        ("token_f1", "", ["red dog"], 0.0),
        ("numeric_match", "4 + 3 = 7. 7 - 2 = 5.", ["so 5"], 1.0),
        ("numeric_match", "it costs $1,234.50", ["1234.5"], 1.0),
        ("numeric_match", "3-4", ["-4"], 0.0),
        ("numeric_match", "none", ["nothing"], 0.0),
        ("numeric_match", "about 1e5", ["100000"], 1.0),
        ("exact_match", "<", [">"], 0.0),
        ("contains", "The answer is A", ["A"], 0.0),
        ("contains", "it is a yes", ["yes"], 1.0),
        ("json_valid", '{"a": 1}', ["x"], 1.0),
        ("json_valid", "{a: 1}", ["x"], 0.0),
        ("json_f1", '{"home": "X", "job": "baker"}', ['{"job": "baker", "home": "Y"}'], 0.5),
        ("json_f1", '{"home": "X"', ['{"home": "X"}'], 0.0),
        ("json_f1", "[1, 2, {}]", ["[2, 1, {}]"], 1.0),
        ("contains", "I think it is New  York, yes", ["new york"], 1.0),
        ("contains", "Yorkshire", ["York"], 0.0),
        ("regex", " 42 apples\n", [r"\d+ (apples|pears)"], 1.0),
        ("regex", "about 42 apples", [r"\d+ apples"], 0.0),
        ("rouge_l", "a b c d", ["b d", "x"], 2 * (1.0 * 0.5) / 1.5),
    ):
        assert find_metric(metric)(text, references) == pytest.approx(value), (metric, text)


@given(text=TEXTS, reference=TEXTS)
def test_a_value_is_from_0_to_1_whatever_is_written(text: str, reference: str) -> None:
    for metric in set(METRICS) - {"regex", "json_f1", "pass_at_1"}:
        assert 0 <= find_metric(metric)(text, [reference or "x"]) <= 1, metric


@given(text=TEXTS.filter(normalise))
def test_a_right_answer_is_worth_1(text: str) -> None:
    for metric in ("exact_match", "token_f1", "contains"):
        assert find_metric(metric)(text, ["something else", text]) == 1.0
    value = json.dumps({"text": text, "more": [text, {"deep": None}]})
    assert find_metric("json_f1")(value, [value]) == 1.0
    assert find_metric("regex")(value, [re.escape(value.strip())]) == 1.0


@given(text=st.text("ab cd.A", max_size=12), reference=st.text("ab cd.A", min_size=1, max_size=12))
def test_rouge_is_that_of_the_package_and_exact_match_that_of_lm_eval_without_articles(
    text: str, reference: str
) -> None:
    assume(normalise(text) and normalise(reference))  # else signs and articles are compared
    measured = RougeScorer(["rougeL"]).score(reference, text)["rougeL"].fmeasure
    assert find_metric("rouge_l")(text, [reference]) == measured

    ignoring = {"ignore_case": True, "ignore_punctuation": True, "regexes_to_ignore": [r"\b(a|an|the)\b"]}
    squeezed = [
        " ".join(re.sub(r"\ba\b", "", each.lower().replace(".", "")).split()) for each in (text, reference)
    ]
    theirs = exact_match_fn(predictions=[squeezed[0]], references=[squeezed[1]], **ignoring)["exact_match"]
    assert find_metric("exact_match")(text, [reference]) == theirs


def test_what_is_judged_is_the_last_match_of_a_pattern() -> None:
    assert judged_part(" 7 apples \n", None) == " 7 apples \n"
    assert judged_part("#### 5 ... #### 7 ", r"#### (\d+)") == "7"
    assert judged_part("a 5 b 7", r"\d") == "7"
    assert judged_part("nothing", r"\d") == ""
    assert judged_part("x", "x(y)?") == ""


def test_a_function_of_ones_own_is_found_by_its_import_path_and_what_cannot_be_read_is_an_error() -> None:
    assert find_metric("math:hypot")(3.0, 4.0) == 5.0  # type: ignore[arg-type] - any function is taken

    for name, reason in (
        ("exact_mach", "did you mean 'exact_match'"),
        ("nowhere_at_all:f", "cannot be imported"),
        ("math:nothing", "cannot be imported"),
        ("math:pi", "not a function"),
    ):
        with pytest.raises(ValueError, match=reason):
            find_metric(name)
    with pytest.raises(ValueError, match="a reference is no JSON"):
        find_metric("json_f1")('{"a": 1}', ["a: 1"])
    with pytest.raises(re.error):
        find_metric("regex")("x", ["("])
