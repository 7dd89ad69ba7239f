"""Answers are those of one row alone without a cache, whatever shares the batch; ends, stops and refusals."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from portal.bases.base import Base, load_base
from portal.forward.adapter_hooks import AdapterHooks, Segment, select_slots
from portal.generation.decoder import Answer, Request, Sampling, end_tokens
from portal.generation.generate import generate
from portal.hypernet import Factors
from portal.modules import ALL_MODULES
from tests.support.bases import make_base, random_factors

BASES = ("mini-qwen3-xs", "mini-gemma3", "village-gemma3", "village-qwen3.5")
PROMPTS = (
    "The town of",
    "Where was Vume born?",
    "a",
    "The age of Diga is sixty years and the age of Zito is",
    "The friend of",
    "The food that",
)
SCALING = 0.5


@pytest.fixture(scope="module", params=BASES)
def base(request: pytest.FixtureRequest) -> Base:
    """An embedded base: full attention, a sliding window, another one, linear attention."""
    return load_base(request.param)


@pytest.fixture
def factors(base: Base) -> Factors:
    return random_factors(base, ALL_MODULES, rank=2, slots=3, seed=1)


def requests_of(base: Base, **changes: Any) -> list[Request]:
    """Rows of unlike lengths; of four, the last has no adapter."""
    return [
        Request(
            tuple(base.tokenizer(prompt).input_ids),
            None if number % 4 == 3 else number % 4,
            **{"max_new_tokens": 5 + 6 * (number % 3), **changes},
        )
        for number, prompt in enumerate(PROMPTS)
    ]


def alone(base: Base, factors: Factors, request: Request) -> Tensor:
    """Greedy tokens by transformers, with the adapter of this row."""
    own = [] if request.slot is None else [Segment(1, select_slots(factors, [request.slot]), SCALING)]
    prompt_1T = torch.tensor([request.prompt])
    with torch.inference_mode(), AdapterHooks(base.model, base.sites).active(own):
        written_1T = base.model.generate(
            prompt_1T,
            attention_mask=torch.ones_like(prompt_1T),
            max_new_tokens=request.max_new_tokens,
            do_sample=False,
            use_cache=True,
            eos_token_id=sorted(end_tokens(base)),
            pad_token_id=0,
        )
    return written_1T[0, prompt_1T.shape[1] :]


def test_tokens_are_those_of_transformers_one_row_at_a_time(base: Base, factors: Factors) -> None:
    long = Request(tuple(base.tokenizer("The town of Quarby. " * 12).input_ids), 1, 40)  # beyond a window
    short = Request(tuple(base.tokenizer("The").input_ids), 0, 60)
    requests = [*requests_of(base), short, long]
    expected = [alone(base, factors, request).tolist() for request in requests]

    for max_rows in (1, 2, None):
        found = dict(generate(base, requests, factors, SCALING, max_rows=max_rows))
        assert [list(found[number].tokens) for number in range(len(requests))] == expected


def test_rows_that_join_a_batch_in_groups_write_what_they_would_alone(base: Base, factors: Factors) -> None:
    # Sixteen places, two of which are free before two of those that wait join; answers of 1 to 13 tokens.
    longest = requests_of(base, max_new_tokens=13)
    wanted = [tuple(alone(base, factors, each).tolist()) for each in longest]
    lengths = [1 + 5 * number % 13 for number in range(48)]
    asked = [replace(longest[number % 6], max_new_tokens=length) for number, length in enumerate(lengths)]

    answers = dict(generate(base, asked, factors, SCALING, max_rows=16))

    assert {number: answer.tokens for number, answer in answers.items()} == {
        number: wanted[number % 6][:length] for number, length in enumerate(lengths)
    }


def test_an_answer_ends_at_an_end_token_a_stop_text_or_its_length(base: Base, factors: Factors) -> None:
    (plain,) = generate(base, requests_of(base)[:1], factors, SCALING)
    tokens = plain[1].tokens
    text = base.tokenizer.decode(tokens)
    stop = text[2:4]

    prompt = requests_of(base)[0].prompt
    asked = [Request(prompt, 0, len(tokens), stop=(each,)) for each in (stop, "%%")]
    (_, stopped), (_, whole) = sorted(generate(base, asked, factors, SCALING))

    assert stopped == Answer(stopped.tokens, text[: text.find(stop)], "stop")
    assert tokens[: len(stopped.tokens)] == stopped.tokens
    assert whole == Answer(tokens, text, "length")


def test_an_end_token_ends_the_answer_and_is_no_part_of_its_text() -> None:
    base = make_base("tiny", "qwen3")
    request = Request((5, 6, 7), None, 8)
    ((_, usual),) = generate(base, [request], {}, SCALING)
    base.model.generation_config.eos_token_id = [usual.tokens[2]]
    first = usual.tokens.index(usual.tokens[2])

    ((_, ended),) = generate(base, [request], {}, SCALING)

    assert usual.reason == "length"
    assert ended.reason == "end"
    assert ended.tokens == usual.tokens[: first + 1]
    assert ended.text == base.tokenizer.decode(usual.tokens[:first])


def test_a_drawn_answer_depends_on_seed_and_request_and_not_on_the_batch(
    base: Base, factors: Factors
) -> None:
    requests = requests_of(base, max_new_tokens=9)

    def drawn(seed: int, max_rows: int) -> dict[int, Answer]:
        sampling = Sampling(temperature=1.5, top_p=0.95, seed=seed)
        return dict(generate(base, requests, factors, SCALING, sampling=sampling, max_rows=max_rows))

    assert drawn(0, 1) == drawn(0, 8)
    assert drawn(0, 8) != drawn(1, 8)


def test_the_base_is_left_as_it_was_between_answers(base: Base, factors: Factors) -> None:
    ids = torch.tensor([requests_of(base)[1].prompt])
    before = base.model(ids).logits

    for _ in generate(base, requests_of(base), factors, SCALING, max_rows=2):
        assert torch.equal(base.model(ids).logits, before)


def test_what_cannot_be_answered_is_refused_before_anything_runs_and_nothing_has_no_answers() -> None:
    base = load_base("mini-qwen3-xs")
    factors = random_factors(base, ALL_MODULES, rank=2, slots=3, seed=1)

    assert list(generate(base, [], {}, SCALING)) == []
    for request, message in (
        (Request((1, 2), 3, 4), r"request 1: slot 3 is outside 0\.\.2"),
        (Request((1,) * 4000, 0, 400_000), "request 1: base 'mini-qwen3-xs' reads .* may have 400000"),
    ):
        with pytest.raises(ValueError, match=message):
            generate(base, [Request((1,), 0, 1), request], factors, SCALING)
