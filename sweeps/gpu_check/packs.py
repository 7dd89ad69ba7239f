"""Packs: learners that share forwards change nothing for each other, a step never waits, a resume goes on."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from portal.storage.checkpoint import load_latest, save_checkpoint
from portal.training import train_step
from portal.training.pack import SYNC_STEPS, Pack
from sweeps.gpu_check.finding import Finding, Level, at_least, at_most, graded, skipped
from sweeps.gpu_check.world import LABELS, STEPS, TARGET, CheckWorld, Where, distance, gradient

PACK_BOUND, PACK_LIMIT = 1e-5, 1e-4
"""Of a gradient's norm on a GPU, whose kernels round by the size of a forward; on a CPU packs are exact. No
card has shown yet how far rounding goes: between the two a line warns. A fault of logic is 1e-2 and more."""
RESUME_BOUND = 1e-3
"""Of a gradient's norm on a GPU, some of whose kernels sum in no fixed order; on a CPU a resume is exact."""
LOSS_BOUND = 0.02
"""Nats per token on a GPU that losses in a pack may be off, or twice what those of two equal runs are."""
_STEPS, _SAVED_AT = 4, 2


def check_companions(world: CheckWorld) -> Iterator[Finding]:
    """A learner has the gradient that it has alone, also beside one that is no number any more."""
    together = world.pack(LABELS, "fp32")
    together.step()
    for label, learner in zip(LABELS, together.learners, strict=True):
        alone = world.pack([label], "fp32")
        alone.step()
        apart = distance(gradient(learner), gradient(alone.learners[0]))
        yield _unchanged(world, f"{label}: gradient in a pack of {len(LABELS)} off that alone", apart)
    yield from _beside_one_that_diverges(world)


def _unchanged(world: CheckWorld, what: str, apart: float) -> Finding:
    """The line of a gradient that companions must not change."""
    bound, most = (PACK_BOUND, PACK_LIMIT) if world.is_gpu else (0.0, 0.0)
    return graded(what, apart, bound, most, unit="of its norm")


def _beside_one_that_diverges(world: CheckWorld) -> Iterator[Finding]:
    healthy, sick = world.pack(LABELS, "fp32"), world.pack(LABELS, "fp32")
    for pack in (healthy, sick):
        pack.step()
    bad = sick.learners[0]
    for tensor in bad.artifact_tensors(bad.tasks).values():
        tensor.data.view(-1)[0] = torch.nan
    before = {name: tensor.clone() for name, tensor in bad.tensors().items()}
    for pack in (healthy, sick):
        pack.step()
        pack.sync_metrics()
    others = max(
        distance(gradient(ours), gradient(theirs))
        for ours, theirs in zip(sick.learners[1:], healthy.learners[1:], strict=True)
    )
    yield _unchanged(world, "gradients beside a learner that has diverged, off those without", others)
    changed = sum(
        not torch.equal(tensor.nan_to_num(), before[name].nan_to_num())
        for name, tensor in bad.tensors().items()
    )
    yield at_most("tensors of the learner that has diverged which a step still changed", changed, 0)
    astray = len({*sick.failed} ^ {bad.key})
    yield at_most("learners that left and should not have, or stayed and should have left", astray, 0)


def check_losses(world: CheckWorld) -> Iterator[Finding]:
    """The losses of whole runs in a pack, beside the same alone; on a GPU beside what two equal runs differ.

    In the precision of studies, whose rounding grows from step to step where no line in fp32 would show it.
    """
    where: Where = "fp32" if world.own_precision is None else "own"
    together = _losses(world, LABELS, where)
    for label in LABELS:
        alone = _losses(world, [label], where)[label]
        bound = 0.0
        if world.is_gpu:
            again = _losses(world, [label], where)[label]
            bound = max(LOSS_BOUND, 2 * _apart(again, alone))
        what = f"{label}: losses of {STEPS} steps in a pack of {len(LABELS)} off those alone"
        otherwise: Level = "WARN" if world.is_gpu else "FAIL"  # no card has shown yet how far rounding goes
        apart = _apart(together[label], alone)
        yield at_most(what, apart, bound, unit="nats per token", otherwise=otherwise)


def _losses(world: CheckWorld, labels: Sequence[str], where: Where) -> dict[str, list[float]]:
    """Of each of all steps, by label."""
    pack = world.pack(labels, where)
    _step(pack, STEPS)
    pack.sync_metrics()
    return {
        label: [loss for _, loss in learner.losses.points]
        for label, learner in zip(labels, pack.learners, strict=True)
    }


def _apart(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The most that two runs differ in any step; no number where one of them has ended before the other."""
    if len(ours) != len(theirs) or not all(map(math.isfinite, [*ours, *theirs])):
        return math.nan
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def check_waiting(world: CheckWorld) -> Iterator[Finding]:
    """All steps between two looks at the device, with every wait for it an error."""
    what = "steps that waited for the device"
    if not world.is_gpu:
        yield skipped(what, "only a GPU can be waited for")
        return
    wait = first_wait(world.pack(LABELS, "own"))
    yield at_most(what, int(bool(wait)), 0, note=wait)


def first_wait(pack: Pack) -> str:
    """What torch says of the first operation that waits for the GPU, after a pack's first step and until it
    looks at the device of its own accord; nothing where none waits.
    """
    pack.step()  # the first one settles limits and allocates
    pack.sync_metrics()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(SYNC_STEPS - 2):
            pack.step()
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""


def check_resume(world: CheckWorld) -> Iterator[Finding]:
    """Learners that are saved, made anew and restored end as those that went on."""
    bound = RESUME_BOUND if world.is_gpu else 0.0
    unbroken, broken = world.pack(LABELS, "fp32"), world.pack(LABELS, "fp32")
    _step(unbroken, _STEPS)
    _step(broken, _SAVED_AT)
    resumed = world.pack(LABELS, "fp32")
    for label, old, new in zip(LABELS, broken.learners, resumed.learners, strict=True):
        folder = world.scratch / "checkpoints" / label
        save_checkpoint(folder, _SAVED_AT, *old.state())
        found = load_latest(folder)
        assert found is not None, "a checkpoint that was written is there"
        new.restore(found.tensors, found.meta)
        lost = sum(not torch.equal(tensor, old.tensors()[name]) for name, tensor in new.tensors().items())
        yield at_most(f"{label}: tensors that a checkpoint did not bring back", lost, 0)
    _step(resumed, _STEPS - _SAVED_AT)
    for label, ours, theirs in zip(LABELS, resumed.learners, unbroken.learners, strict=True):
        apart = distance(gradient(ours), gradient(theirs))
        yield at_most(f"{label}: gradient after a resume off the unbroken run's", apart, bound)


def check_shortage(world: CheckWorld) -> Iterator[Finding]:
    """A step whose forwards run out of memory is taken in parts, with the same gradient."""
    whole, parts = world.pack(LABELS, "fp32"), world.pack(LABELS, "fp32")
    whole.step()
    limit = _dividing_limit(world)
    with _refused_forwards(world, above=limit) as refused:
        parts.step()
    yield at_least("forwards that ran out of memory on purpose", len(refused), 1)
    for label, ours, theirs in zip(LABELS, parts.learners, whole.learners, strict=True):
        apart = distance(gradient(ours), gradient(theirs))
        what = f"{label}: gradient of a step in parts off that of the whole"
        yield graded(what, apart, PACK_BOUND, PACK_LIMIT if world.is_gpu else PACK_BOUND, unit="of its norm")


def _step(pack: Pack, count: int) -> None:
    for _ in range(count):
        pack.step()


def _dividing_limit(world: CheckWorld) -> int:
    """Rows x positions above which forwards of a first step shall not fit: half of the smallest one's, but as
    many as the longest row alone has.
    """
    shapes: list[tuple[int, int]] = []
    with _before_forwards(world, lambda *shape: shapes.append(shape)):
        world.pack(LABELS, "fp32").step()
    longest = max(positions for _, positions in shapes)
    return max(longest, min(rows * positions for rows, positions in shapes) // 2)


@contextmanager
def _refused_forwards(world: CheckWorld, *, above: int) -> Iterator[list[int]]:
    """Within the block forwards of more rows x positions run out of memory; their sizes."""
    refused: list[int] = []

    def refuse(rows: int, positions: int) -> None:
        if rows * positions > above:
            refused.append(rows * positions)
            raise torch.OutOfMemoryError("a check of the machine refuses this forward")

    log = logging.getLogger(train_step.__name__)
    with _before_forwards(world, refuse):
        log.disabled = True  # what it would say is on purpose here
        try:
            yield refused
        finally:
            log.disabled = False


@contextmanager
def _before_forwards(world: CheckWorld, look: Callable[[int, int], None]) -> Iterator[None]:
    """Within the block `look` is called with the rows and positions of every forward of the base."""
    model = world.base(TARGET, "fp32").model
    hook = model.register_forward_pre_hook(
        lambda _module, _args, kwargs: look(*kwargs["input_ids"].shape), with_kwargs=True
    )
    try:
        yield
    finally:
        hook.remove()
