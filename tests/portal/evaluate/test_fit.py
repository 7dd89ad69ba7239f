"""What is left of a guess's uncertainty is 0 for certain gold answers and 1 for a guess."""

import math

import pytest

from portal.evaluate.fit import guess_left
from portal.evaluate.loglikelihood import Scored
from tests.support.bases import make_row


def scored(*scores: float, gold: int = 0) -> Scored:
    return Scored(make_row((1, 2), tuple((place + 3,) for place in range(len(scores))), gold=gold), scores)


def test_certain_answers_leave_nothing_and_guesses_everything() -> None:
    assert guess_left([scored(0.0, -100.0, -100.0)]) == pytest.approx(0.0, abs=1e-12)
    assert guess_left([scored(-7.0, -7.0), scored(-2.0, -2.0, -2.0, -2.0)]) == pytest.approx(1.0)
    assert guess_left([scored(-9.0, -1.0)]) > 1


def test_it_is_the_mean_over_rows_whatever_their_number_of_choices() -> None:
    two, four = scored(-1.0, -2.0), scored(-1.0, -1.5, -4.0, -3.0, gold=1)
    by_hand = [
        math.log(sum(math.exp(x) for x in item.scores)) - item.scores[item.row.gold] for item in (two, four)
    ]

    assert guess_left([two, four]) == pytest.approx((by_hand[0] / math.log(2) + by_hand[1] / math.log(4)) / 2)
