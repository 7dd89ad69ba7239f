"""What the device writes to rows of several adapters in one batch is what each row gets alone."""

from collections.abc import Sequence

import pytest
import torch

from portal.bases.base import Base
from portal.device import torch_threads
from portal.forward.adapter_hooks import AdapterHooks, Segment, select_slots
from portal.generation.decoder import Request, end_tokens
from portal.generation.generate import generate
from portal.hypernet import Factors
from portal.learners.base import Learner
from sweeps.gpu_check.world import SLIDING, TARGET, Where
from tests.support.devices import DeviceWorld, hold

DIFFERENT = 0.05
"""Of the answers in fp32, at most: two tokens may be equally likely but for rounding."""
DIFFERENT_IN_BF16 = 0.15
"""Of their first tokens in bf16, at most: what follows another token is another answer."""
_LABEL, _ROWS_EACH, _NEW_TOKENS = "lora", 8, 8
Tokens = list[tuple[int, ...]]


@pytest.mark.parametrize("base", [TARGET, SLIDING])
def test_greedy_answers_of_a_batch_with_a_cache_are_those_of_whole_forwards_of_each_row(
    world: DeviceWorld, base: str
) -> None:
    requests = requests_on(world, base)
    reference = world.pack([_LABEL], "reference", base).learners[0]
    with torch_threads(1):
        alone = [written_alone(world.base(base, "reference"), reference, each) for each in requests]

    hold(f"{base}: answers in fp32", different(packed(world, base, "fp32", requests), alone), DIFFERENT)
    if world.own_precision is not None:
        first = different(
            [each[:1] for each in packed(world, base, "own", requests)], [each[:1] for each in alone]
        )
        hold(f"{base}: first tokens in bf16", first, DIFFERENT_IN_BF16)


def test_adapters_matter_to_the_answers(world: DeviceWorld) -> None:
    """Else rows that got another's adapter would pass."""
    requests = requests_on(world, TARGET)
    learner = world.pack([_LABEL], "fp32").learners[0]
    base, own = world.base(TARGET, "fp32"), factors_of(learner, TARGET)
    swapped = {site: (a.roll(1, 0), b.roll(1, 0)) for site, (a, b) in own.items()}
    first, second = (dict(generate(base, requests, each, learner.adapter.scaling)) for each in (own, swapped))

    changed = [number for number in first if first[number].tokens != second[number].tokens]
    assert len(changed) > 0.1 * len(requests)
    assert all(requests[number].slot is not None for number in changed)


def requests_on(world: DeviceWorld, base: str) -> list[Request]:
    """As many rows bare as of every task with its slot, in an order in which slots come and go."""
    run = world.run(_LABEL, base)
    rows = [world.rows(base).rows(task, "test")[:_ROWS_EACH] for task in run.data.tasks]
    slots = [*range(len(rows)), None]
    named = [(row.prompt, slot) for slot in slots for row in rows[slot if slot is not None else 0]]
    mixed = [named[place] for start in range(_ROWS_EACH) for place in range(start, len(named), _ROWS_EACH)]
    return [Request(prompt, slot, _NEW_TOKENS) for prompt, slot in mixed]


def packed(world: DeviceWorld, base: str, where: Where, requests: Sequence[Request]) -> Tokens:
    learner = world.pack([_LABEL], where, base).learners[0]
    loaded = world.base(base, where)
    found = dict(generate(loaded, requests, factors_of(learner, base), learner.adapter.scaling))
    return [found[number].tokens for number in range(len(requests))]


@torch.no_grad()
def factors_of(learner: Learner, base: str) -> Factors:
    return learner.factors(base)


@torch.inference_mode()
def written_alone(base: Base, learner: Learner, request: Request) -> tuple[int, ...]:
    """The likeliest tokens by whole forwards, one after another."""
    own: list[Segment] = []
    if request.slot is not None:
        factors = select_slots(factors_of(learner, base.name), [request.slot])
        own = [Segment(1, factors, learner.adapter.scaling)]
    ids, ends = list(request.prompt), end_tokens(base)
    with AdapterHooks(base.model, base.sites).active(own):
        while len(ids) < len(request.prompt) + request.max_new_tokens and ids[-1] not in ends:
            ids.append(int(base.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return tuple(ids[len(request.prompt) :])


def different(ours: Tokens, theirs: Tokens) -> float:
    """The share of answers that differ."""
    return sum(a != b for a, b in zip(ours, theirs, strict=True)) / len(ours)
