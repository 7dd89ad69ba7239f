"""Answers: what the device writes to rows of several adapters in one batch is what each row gets alone."""

from collections.abc import Iterator, Sequence

import torch

from portal.bases.base import Base
from portal.device import torch_threads
from portal.forward.adapter_hooks import AdapterHooks, Segment, select_slots
from portal.generation.decoder import Request, end_tokens
from portal.generation.generate import generate
from portal.hypernet import Factors
from portal.learners.base import Learner
from sweeps.gpu_check.finding import Finding, at_least, skipped
from sweeps.gpu_check.world import SLIDING, TARGET, CheckWorld, Where

SAME = 0.95
"""Of the answers in fp32: two tokens may be equally likely but for rounding."""
SAME_IN_BF16 = 0.85
"""Of their first tokens in bf16: what follows another token is another answer."""
_LABEL, _ROWS_EACH, _NEW_TOKENS = "lora", 8, 8
Tokens = list[tuple[int, ...]]


def check_answers(world: CheckWorld) -> Iterator[Finding]:
    """Greedy answers, packed on the device with a cache, against whole forwards of one row on the CPU."""
    for base in (TARGET, SLIDING):
        requests = _requests(world, base)
        reference = world.pack([_LABEL], "reference", base).learners[0]
        with torch_threads(1):
            alone = [_alone(world.base(base, "reference"), reference, each) for each in requests]
        packed = _packed(world, base, "fp32", requests)
        what = f"{base}: greedy answers of {len(requests)} rows in fp32 that are those of the CPU, row by row"
        yield at_least(what, _same(packed, alone), SAME)
        if world.own_precision is not None:
            rounded = _packed(world, base, "own", requests)
            first = _same([each[:1] for each in rounded], [each[:1] for each in alone])
            yield at_least(f"{base}: their first tokens that are the same in bf16", first, SAME_IN_BF16)
    if world.own_precision is None:
        yield skipped("answers in bf16", "this CPU has no bf16 instructions")


def _requests(world: CheckWorld, base: str) -> list[Request]:
    """Rows of every task with its slot, and without one, in an order in which slots come and go."""
    run = world.run(_LABEL, base)
    rows = [world.rows(base).rows(task, "test")[:_ROWS_EACH] for task in run.data.tasks]
    slots = [*range(len(rows)), None]
    named = [
        (row.prompt, slot) for slot in slots for row in rows[slot if slot is not None else 0]
    ]  # as many rows bare as with each adapter
    mixed = [named[place] for start in range(_ROWS_EACH) for place in range(start, len(named), _ROWS_EACH)]
    return [Request(prompt, slot, _NEW_TOKENS) for prompt, slot in mixed]


def _packed(world: CheckWorld, base: str, where: Where, requests: Sequence[Request]) -> Tokens:
    learner = world.pack([_LABEL], where, base).learners[0]
    loaded = world.base(base, where)
    found = dict(generate(loaded, requests, _factors(learner, base), learner.adapter.scaling))
    return [found[number].tokens for number in range(len(requests))]


@torch.no_grad()
def _factors(learner: Learner, base: str) -> Factors:
    return learner.factors(base)


@torch.inference_mode()
def _alone(base: Base, learner: Learner, request: Request) -> tuple[int, ...]:
    """The likeliest tokens by whole forwards, one after another."""
    own: list[Segment] = []
    if request.slot is not None:
        factors = select_slots(_factors(learner, base.name), [request.slot])
        own = [Segment(1, factors, learner.adapter.scaling)]
    ids, ends = list(request.prompt), end_tokens(base)
    with AdapterHooks(base.model, base.sites).active(own):
        while len(ids) < len(request.prompt) + request.max_new_tokens and ids[-1] not in ends:
            ids.append(int(base.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return tuple(ids[len(request.prompt) :])


def _same(ours: Tokens, theirs: Tokens) -> float:
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)
