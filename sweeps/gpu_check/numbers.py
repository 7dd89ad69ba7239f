"""Numbers: gradients and scores of the device against those of one CPU thread in fp32, and after a resume."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from portal.bases.base import Base
from portal.data.token_rows import TokenRow
from portal.device import torch_threads, usable_cores
from portal.evaluate.loglikelihood import Scored, score_rows
from portal.storage.checkpoint import load_latest, save_checkpoint
from portal.training.pack import Pack
from sweeps.gpu_check.finding import NEEDS_BF16, Finding, bounded, skipped
from sweeps.gpu_check.world import LABELS, SLIDING, TARGET, CheckWorld, Where, distance, gradient

FP32_BOUND = 1e-4
"""Of a gradient's norm: sums in another order differ by 1e-7 to 1e-5, a fault of logic by 1e-2 and more."""
BF16_COSINE = 0.99
SCORE_BOUND_NATS = 1e-3
AGREEMENT = 0.98
"""Of the rows whose likeliest choice is the same in bf16 and in fp32, among those that fp32 decides."""
TIES = 0.005
RESUME_BOUND = 1e-3
"""Of a gradient's norm on a GPU, some of whose kernels sum in no fixed order; on a CPU a resume is exact."""
_DECIDED_NATS = 0.3
"""By which the likeliest choice leads in fp32: twice what bf16 changes scores of the embedded bases by."""
_SCORED_TASK, _SCORED_ROWS = "fact_qa", 50
_STEPS, _SAVED_AT = 4, 2


def check_gradients(world: CheckWorld) -> Iterator[Finding]:
    """A step of every kind of learner, all in one pack, against each alone on the CPU."""
    for base in (TARGET, SLIDING):
        alone = {label: step_gradients(world, [label], "reference", base)[label] for label in LABELS}
        packed = step_gradients(world, LABELS, "fp32", base)
        for label in LABELS:
            what = f"{base}, {label}: gradient of a step in fp32, packed on the device, off one CPU thread's"
            yield bounded(what, distance(packed[label], alone[label]), most=FP32_BOUND, unit="of its norm")
        if world.own_precision is None:
            continue
        rounded = step_gradients(world, LABELS, "own", base)
        for label in LABELS:
            what = f"{base}, {label}: cosine of the gradient in bf16 with that in fp32"
            ours, theirs = rounded[label].double(), alone[label].double()
            yield bounded(what, float(torch.cosine_similarity(ours, theirs, dim=0)), least=BF16_COSINE)
    if world.own_precision is None:
        yield skipped("gradients in bf16", NEEDS_BF16)


def check_scores(world: CheckWorld) -> Iterator[Finding]:
    """Packed scores against one forward per choice, and those in bf16 against those in fp32."""
    for base in (TARGET, SLIDING):
        rows = world.rows(base).rows(_SCORED_TASK, "test")[:_SCORED_ROWS]
        packed = score_rows(world.base(base, "fp32"), rows)
        single = [_score_alone(world.base(base, "reference"), row) for row in rows]
        apart = max(
            abs(ours - theirs)
            for item, scores in zip(packed, single, strict=True)
            for ours, theirs in zip(item.scores, scores, strict=True)
        )
        what = f"{base}: scores in fp32, packed on the device, off one forward per choice on the CPU"
        yield bounded(what, apart, most=SCORE_BOUND_NATS, unit="nats")
        if world.own_precision is not None:
            yield from _compare_rounded(base, score_rows(world.base(base, "own"), rows), packed)
    if world.own_precision is None:
        yield skipped("scores in bf16", NEEDS_BF16)


def check_resume(world: CheckWorld) -> Iterator[Finding]:
    """Learners that are saved, made anew and restored end as those that went on."""
    bound = RESUME_BOUND if world.is_gpu else 0.0
    unbroken, broken, resumed = (world.pack(LABELS, "fp32") for _ in range(3))
    _step(unbroken, _STEPS)
    _step(broken, _SAVED_AT)
    for label, old, new in zip(LABELS, broken.learners, resumed.learners, strict=True):
        folder = world.scratch / "checkpoints" / label
        save_checkpoint(folder, _SAVED_AT, *old.state())
        found = load_latest(folder)
        assert found is not None, "a checkpoint that was written is there"
        new.restore(found.tensors, found.meta)
        lost = sum(not torch.equal(tensor, old.tensors()[name]) for name, tensor in new.tensors().items())
        yield bounded(f"{label}: tensors that a checkpoint did not bring back", lost, most=0)
    _step(resumed, _STEPS - _SAVED_AT)
    for label, ours, theirs in zip(LABELS, resumed.learners, unbroken.learners, strict=True):
        apart = distance(gradient(ours), gradient(theirs))
        yield bounded(f"{label}: gradient after a resume off the unbroken run's", apart, most=bound)


def step_gradients(world: CheckWorld, labels: Sequence[str], where: Where, base: str) -> dict[str, Tensor]:
    """The gradients of one step by label, of learners in one pack on the base there.

    The reference is of one thread; what is held to it on a CPU is of all cores, to be strict.
    """
    with torch_threads(1 if where == "reference" else usable_cores()):
        pack = world.pack(labels, where, base)
        pack.step()
        return {label: gradient(learner) for label, learner in zip(labels, pack.learners, strict=True)}


def _step(pack: Pack, count: int) -> None:
    for _ in range(count):
        pack.step()


def _compare_rounded(base: str, rounded: Sequence[Scored], exact: Sequence[Scored]) -> Iterator[Finding]:
    """The lines on scores in bf16: likeliest choices of rows that fp32 decides, and ties."""
    pairs = zip(rounded, exact, strict=True)
    same = [_likeliest(ours) == _likeliest(theirs) for ours, theirs in pairs if _lead(theirs) > _DECIDED_NATS]
    what = f"{base}: rows led by over {_DECIDED_NATS:g} nats whose likeliest choice is the same in bf16"
    yield bounded(what, sum(same) / len(same) if same else math.nan, least=AGREEMENT)
    ties = sum(item.is_tied for item in rounded) / len(rounded)
    yield bounded(f"{base}: rows whose likeliest choices tie in bf16", ties, most=TIES)


def _likeliest(item: Scored) -> int:
    return max(range(len(item.scores)), key=lambda choice: item.scores[choice])


def _lead(item: Scored) -> float:
    """Nats by which the likeliest choice is ahead of the next."""
    second, first = sorted(item.scores)[-2:]
    return first - second


@torch.inference_mode()
def _score_alone(base: Base, row: TokenRow) -> list[float]:
    """Each choice's log-likelihood from a forward of its own, as transformers alone gives it."""
    scores = []
    for choice, unscored in zip(row.choices, row.unscored, strict=True):
        ids = torch.tensor([[*row.prompt, *choice]])
        log_probs_TV = base.model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
        first = len(row.prompt) + unscored
        own = log_probs_TV[first - 1 : -1].gather(1, ids[0, first:, None])
        scores.append(float(own.sum()))
    return scores
