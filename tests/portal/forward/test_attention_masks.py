"""Masks follow the sliding window of a base; layers of other kinds get rows of one choice and no mask."""

import pytest
import torch

from portal.evaluate.loglikelihood import score_rows, scoring_batches
from portal.forward.attention_masks import causal_masks
from tests.support.bases import make_base
from tests.support.scoring import LABELS, LONG
from tests.support.zoo import tiny_base


def test_a_sliding_window_that_is_ignored_would_show() -> None:
    base = make_base("tiny", "gemma3")
    (windowed,) = score_rows(base, [LONG])

    base.text_config.sliding_window = 1000

    (full,) = score_rows(base, [LONG])
    assert max(abs(a - b) for a, b in zip(windowed.scores, full.scores, strict=True)) > 0.1


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma3"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_rows_in_which_all_before_is_seen_have_no_mask_on_any_device(family: str, device: str) -> None:
    """Flash attention takes none."""
    base = make_base("tiny", family)

    masks = causal_masks(base.text_config, 5, torch.device(device))

    assert {*masks.values()} == {None} if isinstance(masks, dict) else masks is None


def test_a_base_with_layers_of_another_kind_takes_one_choice_in_a_row_and_makes_its_own_masks() -> None:
    base = tiny_base("qwen3_5_text")

    assert not base.takes_branches
    assert causal_masks(base.text_config, 20, base.device) is None
    (batch,) = scoring_batches([LABELS], base).batches
    assert len(batch.ids_NT) == len(LABELS.choices)
    assert batch.layout is None
