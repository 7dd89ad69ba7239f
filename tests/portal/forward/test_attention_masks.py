"""Masks follow the sliding window of a base, and a layer of an unknown kind is refused."""

import pytest

from portal.evaluate.loglikelihood import score_rows
from tests.support.bases import make_base
from tests.support.scoring import LABELS, LONG


def test_a_sliding_window_that_is_ignored_would_show() -> None:
    base = make_base("tiny", "gemma3")
    (windowed,) = score_rows(base, [LONG])

    base.text_config.sliding_window = 1000

    (full,) = score_rows(base, [LONG])
    assert max(abs(a - b) for a, b in zip(windowed.scores, full.scores, strict=True)) > 0.1


def test_a_layer_of_an_unknown_kind_is_refused() -> None:
    base = make_base("tiny", "gemma3")
    base.text_config.layer_types = ["chunked_attention", "full_attention", "full_attention"]

    with pytest.raises(ValueError, match=r"layers of kind \['chunked_attention'\]"):
        score_rows(base, [LABELS])
