"""Learners in one pack change nothing for each other, a step never waits, a shortage loses nothing."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch

from portal.forward.microbatch import MicroBatch
from portal.learners.base import Learner
from portal.training import train_step
from portal.training.pack import Pack
from sweeps.gpu_check.world import LABELS, STEPS, TARGET, distance, gradient
from tests.support.devices import DeviceWorld, expect, first_wait, hold
from tests.support.leaks import leak_between_companions, leak_what_is_no_number, wait_for_the_gpu

PACK_BOUND, PACK_LIMIT = 1e-5, 1e-4
"""Of a gradient's norm on a GPU, whose kernels round by the size of a forward; on a CPU packs are exact. No
card has shown yet how far rounding goes: between the two a test warns. A fault of logic is 1e-2 and more."""
LOSS_BOUND = 0.02
"""Nats per token on a GPU that losses in a pack may be off, or twice what those of two equal runs are."""
_CPU_STEPS = 5


def test_a_learner_has_the_gradient_that_it_has_alone(world: DeviceWorld) -> None:
    together = stepped(world, LABELS)
    for label, learner in zip(LABELS, together.learners, strict=True):
        alone = gradient(stepped(world, [label]).learners[0])
        hold_unchanged(
            world, f"{label}: gradient in a pack off that alone", distance(gradient(learner), alone)
        )


def test_a_learner_that_diverges_leaves_its_pack_and_changes_no_other(world: DeviceWorld) -> None:
    healthy, sick = stepped(world, LABELS), stepped(world, LABELS)
    bad = sick.learners[0]
    for tensor in bad.artifact_tensors(bad.tasks).values():
        tensor.data.view(-1)[0] = torch.nan
    before = {name: tensor.clone() for name, tensor in bad.tensors().items()}
    for pack in (healthy, sick):
        pack.step()
        pack.sync_metrics()

    apart = max(map(distance, map(gradient, sick.learners[1:]), map(gradient, healthy.learners[1:])))
    hold_unchanged(world, "gradients beside a learner that has diverged, off those without", apart)
    assert [
        name
        for name, tensor in bad.tensors().items()
        if not torch.equal(tensor.nan_to_num(), before[name].nan_to_num())
    ] == []
    assert {*sick.failed} == {bad.key}


def test_runs_in_a_pack_have_the_losses_that_they_have_alone(world: DeviceWorld) -> None:
    """In the precision of studies, whose rounding grows from step to step where no test in fp32 shows it."""
    steps = STEPS if world.is_gpu else _CPU_STEPS
    together = losses(world, LABELS, steps)
    for label in LABELS:
        alone = losses(world, [label], steps)[label]
        off = losses_apart(together[label], alone)
        what = f"{label}: losses in a pack off those alone"
        if not world.is_gpu:
            hold(what, off, 0.0)
        else:  # no card has shown yet how far rounding goes
            again = losses_apart(losses(world, [label], steps)[label], alone)
            expect(what, off, at_most=max(LOSS_BOUND, 2 * again))


@pytest.mark.gpu
def test_no_step_waits_for_the_device(world: DeviceWorld) -> None:
    assert first_wait(world.pack(LABELS, "own")) == ""


def test_a_step_whose_forwards_run_out_of_memory_has_the_gradient_of_the_whole(world: DeviceWorld) -> None:
    whole, parts, most_tokens = stepped(world, LABELS), world.pack(LABELS, "fp32"), dividing_limit(world)
    refused: list[int] = []

    def refuse(rows: int, positions: int) -> None:
        if rows * positions > most_tokens:
            refused.append(rows * positions)
            raise torch.OutOfMemoryError("a test refuses this forward")

    with before_forwards(world, refuse):
        parts.step()

    assert refused
    for label, ours, theirs in zip(LABELS, parts.learners, whole.learners, strict=True):
        most = PACK_LIMIT if world.is_gpu else PACK_BOUND
        apart = distance(gradient(ours), gradient(theirs))
        hold(f"{label}: gradient of a step in parts off the whole", apart, most, warn_above=PACK_BOUND)


def stepped(world: DeviceWorld, labels: Sequence[str]) -> Pack:
    pack = world.pack(labels, "fp32")
    pack.step()
    return pack


def hold_unchanged(world: DeviceWorld, what: str, apart: float) -> None:
    bound, limit = (PACK_BOUND, PACK_LIMIT) if world.is_gpu else (0.0, 0.0)
    hold(what, apart, limit, warn_above=bound)


def losses(world: DeviceWorld, labels: Sequence[str], steps: int) -> dict[str, list[float]]:
    pack = world.pack(labels, "fp32" if world.own_precision is None else "own")
    for _ in range(steps):
        pack.step()
    pack.sync_metrics()
    found = zip(labels, pack.learners, strict=True)
    return {label: [loss for _, loss in learner.losses.points] for label, learner in found}


def losses_apart(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The most in any step; no number where one of them has ended before the other."""
    if len(ours) != len(theirs) or not all(map(math.isfinite, [*ours, *theirs])):
        return math.nan
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def dividing_limit(world: DeviceWorld) -> int:
    """Half of a first step's smallest forward, in rows x positions, but as many as its longest row has."""
    shapes: list[tuple[int, int]] = []
    with before_forwards(world, lambda *shape: shapes.append(shape)):
        stepped(world, LABELS)
    smallest = min(rows * positions for rows, positions in shapes)
    return max(max(positions for _, positions in shapes), smallest // 2)


@contextmanager
def before_forwards(world: DeviceWorld, look: Callable[[int, int], None]) -> Iterator[None]:
    """Within the block the rows and positions of each forward are looked at, in silence."""
    log = logging.getLogger(train_step.__name__)
    hook = world.base(TARGET, "fp32").model.register_forward_pre_hook(
        lambda _module, _args, kwargs: look(*kwargs["input_ids"].shape), with_kwargs=True
    )
    log.disabled = True  # what it would say is on purpose here
    try:
        yield
    finally:
        hook.remove()
        log.disabled = False


def fails(test: Callable[..., None], *arguments: object) -> None:
    """The test above finds what is wrong here."""
    with pytest.raises(AssertionError):
        test(*arguments)


def test_companions_that_change_a_gradient_and_a_learner_that_diverges_unseen_or_spreads_are_found(
    faulty: DeviceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        leak_between_companions(patch, 1.001)
        fails(test_a_learner_has_the_gradient_that_it_has_alone, faulty)
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "watch", lambda *_: None)
        fails(test_a_learner_that_diverges_leaves_its_pack_and_changes_no_other, faulty)
    leak_what_is_no_number(monkeypatch)
    fails(test_a_learner_that_diverges_leaves_its_pack_and_changes_no_other, faulty)


def test_on_a_gpu_a_gradient_may_be_off_by_what_rounding_does(
    taken_for_a_gpu: DeviceWorld, recwarn: pytest.WarningsRecorder
) -> None:
    hold_unchanged(taken_for_a_gpu, "a gradient", 5e-6)
    assert not recwarn.list
    hold_unchanged(taken_for_a_gpu, "a gradient", 5e-5)
    assert len(recwarn.list) == 1
    for apart in (5e-4, math.nan):
        fails(hold_unchanged, taken_for_a_gpu, "a gradient", apart)


def test_a_step_that_waits_for_the_device_is_found_and_another_error_is_no_wait(
    faulty: DeviceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = faulty.base(TARGET, "fp32").model
    with monkeypatch.context() as patch:
        modes = wait_for_the_gpu(patch, model, waits=True)
        assert first_wait(faulty.pack(LABELS, "fp32")) == "called a synchronizing CUDA operation"
        assert modes == ["error", "default"]
    modes = wait_for_the_gpu(monkeypatch, model, waits=False)
    assert first_wait(faulty.pack(LABELS, "fp32")) == ""

    def fail(*_: object) -> None:
        if modes[-1] == "error":
            raise RuntimeError("an illegal access")

    model.register_forward_pre_hook(fail)

    with pytest.raises(RuntimeError, match="an illegal access"):
        first_wait(faulty.pack(LABELS, "fp32"))
    assert modes == ["error", "default"] * 2


def test_a_step_that_loses_rows_or_counts_them_twice_when_it_is_divided_is_found(
    faulty: DeviceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    divide = train_step.divide

    def losing(forward: MicroBatch, max_tokens: int) -> list[MicroBatch]:
        parts = divide(forward, max_tokens)
        return parts if len(parts) == 1 else parts[1:]

    def doubling(forward: MicroBatch, max_tokens: int) -> list[MicroBatch]:
        parts = divide(forward, max_tokens)
        return parts if len(parts) == 1 else parts * 2

    for spoilt in (losing, doubling):
        monkeypatch.setattr(train_step, "divide", spoilt)
        fails(test_a_step_whose_forwards_run_out_of_memory_has_the_gradient_of_the_whole, faulty)
