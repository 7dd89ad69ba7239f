"""A prompt with all its choices in one row scores as one row per choice."""

import pytest

from portal.bases.base import Base
from portal.evaluate.loglikelihood import MAX_TOKENS, score_rows
from portal.forward.shared_prefix import answer_token_scores, pack_rows
from tests.support.scoring import LABELS, NAMED_ROWS, PREFIXES, random_rows, score_one_by_one


@pytest.mark.parametrize("max_tokens", [1, 150, MAX_TOKENS])
def test_packed_scores_equal_one_row_a_choice_whatever_the_batch(any_base: Base, max_tokens: int) -> None:
    rows = [*NAMED_ROWS, *random_rows(12, seed=1)]

    scored = score_rows(any_base, rows, max_tokens=max_tokens)

    assert [item.row for item in scored] == rows
    for item in scored:
        assert item.scores == pytest.approx(score_one_by_one(any_base, item.row), abs=1e-4), item.row.id


def test_eager_attention_takes_one_choice_in_a_row_and_branches_are_refused(any_base: Base) -> None:
    packed = score_rows(any_base, [LABELS, PREFIXES])
    any_base.model.set_attn_implementation("eager")

    for ours, theirs in zip(score_rows(any_base, [LABELS, PREFIXES]), packed, strict=True):
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-5)
    with pytest.raises(ValueError, match=f"base {any_base.name!r} takes one choice in a row only"):
        answer_token_scores(any_base, pack_rows([LABELS]))
