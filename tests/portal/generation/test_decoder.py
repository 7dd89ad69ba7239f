"""Draws have the distribution that temperature and top_p say."""

import pytest
import torch

from portal.generation.decoder import Request, Sampling

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0]])


def shares(sampling: Sampling, draws: int = 4000) -> torch.Tensor:
    chosen = sampling.choose(LOGITS.expand(draws, -1), list(range(draws)), [0] * draws)
    return torch.bincount(torch.tensor(chosen), minlength=4) / draws


def test_draws_follow_the_softmax_over_the_temperature_without_the_tail_beyond_top_p() -> None:
    for temperature, top_p in ((0.5, 1.0), (1.0, 1.0), (3.0, 1.0), (1.0, 0.8)):
        expected = (LOGITS[0] / temperature).softmax(0)  # at 1: 0.64, 0.24, 0.09, 0.03
        if top_p < 1:
            expected[2:] = 0
        found = shares(Sampling(temperature, top_p=top_p))
        torch.testing.assert_close(found, expected / expected.sum(), atol=0.03, rtol=0)


def test_greedy_takes_the_highest_logit_and_the_first_of_several() -> None:
    tied = torch.tensor([[0.0, 3.0, 3.0], [5.0, 1.0, 5.0]])

    assert Sampling().choose(tied, [0, 1], [0, 0]) == [1, 0]


def test_rows_and_steps_have_draws_of_their_own() -> None:
    flat = torch.zeros(1, 1000)
    sampling = Sampling(1.0)

    drawn = {sampling.choose(flat, [row], [step])[0] for row in range(5) for step in range(5)}

    assert len(drawn) > 20
    assert sampling.choose(flat, [3], [2]) == sampling.choose(flat, [3], [2])


def test_settings_and_requests_that_make_no_sense_are_refused() -> None:
    for settings, message in (
        ({"temperature": -1.0}, "temperature -1 is below 0"),
        ({"temperature": float("nan")}, "temperature nan is below 0"),
        ({"top_p": 0.0}, r"top_p 0 is outside \(0, 1\]"),
        ({"top_p": 1.5}, r"top_p 1.5 is outside \(0, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            Sampling(**settings)  # type: ignore[arg-type]
    for prompt, new_tokens, stop, message in (
        ((), 1, (), "the prompt has no tokens"),
        ((1,), 0, (), "0 new tokens: at least 1 is needed"),
        ((1,), 1, ("",), "a stop text is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            Request(prompt, 0, new_tokens, stop)
