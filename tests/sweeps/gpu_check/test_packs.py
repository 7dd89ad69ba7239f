"""Packs, resume and shortage of memory on this CPU pass, and every line can fail."""

import math
from dataclasses import replace

import pytest
import torch

from portal.forward.microbatch import MicroBatch
from portal.learners.base import Learner
from portal.storage.checkpoint import Checkpoint, load_latest
from portal.storage.paths import Folder
from portal.training import train_step
from portal.training.pack import Pack
from sweeps.gpu_check import packs
from sweeps.gpu_check.check import Check
from sweeps.gpu_check.packs import (
    check_companions,
    check_losses,
    check_resume,
    check_shortage,
    check_waiting,
)
from sweeps.gpu_check.world import LABELS, TARGET, CheckWorld
from tests.support.findings import levels
from tests.support.leaks import (
    leak_between_companions,
    leak_what_is_no_number,
    wait_for_the_gpu,
    weigh_more_in_packs,
)
from tests.support.precision import cpu_with


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "STEPS", 6)


@pytest.mark.parametrize(
    ("check", "others"), [(check_companions, 3), (check_losses, 0), (check_resume, 4), (check_shortage, 1)]
)
def test_the_checks_pass_on_this_cpu(checked: CheckWorld, check: Check, others: int) -> None:
    found = list(check(checked))

    assert len(found) == len(LABELS) + others
    assert {each.level for each in found} == {"PASS"}


def test_waiting_is_told_apart_on_a_gpu_only(checked: CheckWorld) -> None:
    (line,) = check_waiting(checked)

    assert line.level == "SKIP"


def test_companions_that_change_a_gradient_are_found(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak_between_companions(monkeypatch, 1.001)

    found = levels(check_companions(checked))

    sharing = LABELS[:3]  # rows with all their choices have forwards of their own
    assert [found[f"{label}: gradient in a pack of 4 off that alone"] for label in sharing] == ["FAIL"] * 3


def test_gradients_of_every_kind_that_a_pack_changes_are_found(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    weigh_more_in_packs(monkeypatch, 1.001)

    found = levels(check_companions(checked))

    assert [found[f"{label}: gradient in a pack of 4 off that alone"] for label in LABELS] == ["FAIL"] * 4


def test_losses_that_a_pack_changes_are_found(checked: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Pack.step

    def change(pack: Pack) -> int:
        if len(pack.learners) > 1 and pack.learners[0].step == 3:
            for learner in pack.learners:
                for tensor in learner.artifact_tensors(learner.tasks).values():
                    tensor.data.mul_(1.1)
        return step(pack)

    monkeypatch.setattr(Pack, "step", change)

    found = list(check_losses(checked))

    assert [each.level for each in found] == ["FAIL"] * len(LABELS)


@pytest.mark.parametrize(
    ("apart", "level"), [(5e-6, "PASS"), (5e-5, "WARN"), (5e-4, "FAIL"), (math.nan, "FAIL")]
)
def test_on_a_gpu_a_gradient_may_be_off_by_what_rounding_does(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch, apart: float, level: str
) -> None:
    monkeypatch.setattr(packs, "distance", lambda *_: apart)
    monkeypatch.setattr(CheckWorld, "is_gpu", property(lambda _: True))

    for check, off in ((check_companions, "off that alone"), (check_shortage, "off that of the whole")):
        found = levels(check(checked))
        assert [found[what] for what in found if off in what] == [level] * len(LABELS)


def test_on_a_gpu_losses_that_are_off_are_a_warning(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak_between_companions(monkeypatch, 1.5)
    with cpu_with("avx512_bf16"):
        monkeypatch.setattr(CheckWorld, "is_gpu", property(lambda _: True))
        found = list(check_losses(checked))

    assert {each.bound for each in found} == {"at most 0.02"}  # both runs alone are equal here
    assert "WARN" in {each.level for each in found}
    assert "FAIL" not in {each.level for each in found}


def test_a_learner_that_leaves_its_pack_has_other_losses(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak_what_is_no_number(monkeypatch)
    step = Pack.step

    def spoil(pack: Pack) -> int:
        if len(pack.learners) > 1 and pack.learners[0].step == 3:
            for tensor in pack.learners[0].artifact_tensors(pack.learners[0].tasks).values():
                tensor.data.fill_(torch.nan)
        return step(pack)

    monkeypatch.setattr(Pack, "step", spoil)

    found = list(check_losses(checked))

    assert [each.level for each in found] == ["FAIL"] * 3 + ["PASS"]  # the last has forwards of its own


def test_a_learner_that_diverges_unseen_is_found(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "watch", lambda *_: None)

    found = levels(check_companions(checked))

    assert found["tensors of the learner that has diverged which a step still changed"] == "FAIL"


def test_what_is_no_number_and_spreads_is_found(checked: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    leak_what_is_no_number(monkeypatch)

    found = levels(check_companions(checked))

    assert found["gradients beside a learner that has diverged, off those without"] == "FAIL"
    assert found["learners that left and should not have, or stayed and should have left"] == "FAIL"


@pytest.mark.parametrize(("waits", "level"), [(True, "FAIL"), (False, "PASS")])
def test_a_step_that_waits_for_the_device_is_found(
    fresh: CheckWorld, monkeypatch: pytest.MonkeyPatch, *, waits: bool, level: str
) -> None:
    with cpu_with("avx512_bf16"):
        modes = wait_for_the_gpu(monkeypatch, fresh.base(TARGET, "own").model, waits=waits)
        monkeypatch.setattr(CheckWorld, "is_gpu", property(lambda _: True))
        (line,) = check_waiting(fresh)

    assert line.level == level
    assert line.note == ("called a synchronizing CUDA operation" if waits else "")
    assert modes == ["error", "default"]


def test_an_error_of_a_step_is_no_wait(fresh: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = fresh.pack(LABELS, "fp32")
    modes = wait_for_the_gpu(monkeypatch, fresh.base(TARGET, "fp32").model, waits=False)

    def fail(*_: object) -> None:
        if modes == ["error"]:
            raise RuntimeError("an illegal access")

    fresh.base(TARGET, "fp32").model.register_forward_pre_hook(fail)

    with pytest.raises(RuntimeError, match="an illegal access"):
        packs.first_wait(pack)
    assert modes == ["error", "default"]


def test_a_checkpoint_that_forgets_is_found(checked: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(folder: Folder) -> Checkpoint | None:
        found = load_latest(folder)
        assert found is not None
        name = next(name for name in found.tensors if name.endswith("exp_avg"))
        return replace(found, tensors={**found.tensors, name: found.tensors[name] * 0})

    monkeypatch.setattr(packs, "load_latest", forget)

    found = levels(check_resume(checked))

    assert [found[f"{label}: tensors that a checkpoint did not bring back"] for label in LABELS] == [
        "FAIL"
    ] * 4
    assert [found[f"{label}: gradient after a resume off the unbroken run's"] for label in LABELS] == [
        "FAIL"
    ] * 4


def test_a_step_that_loses_rows_when_it_is_divided_is_found(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    divide = train_step.divide

    def lose(forward: MicroBatch, max_tokens: int) -> list[MicroBatch]:
        parts = divide(forward, max_tokens)
        return parts if len(parts) == 1 else parts[1:]

    monkeypatch.setattr(train_step, "divide", lose)

    assert "FAIL" in levels(check_shortage(checked)).values()


def test_rows_that_count_twice_in_a_step_in_parts_are_found(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    divide = train_step.divide

    def repeat(forward: MicroBatch, max_tokens: int) -> list[MicroBatch]:
        parts = divide(forward, max_tokens)
        return parts if len(parts) == 1 else parts * 2

    monkeypatch.setattr(train_step, "divide", repeat)

    found = levels(check_shortage(checked))

    labels = [found[f"{label}: gradient of a step in parts off that of the whole"] for label in LABELS]
    assert labels == ["FAIL"] * 4


def test_a_shortage_that_never_comes_is_found(checked: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "_dividing_limit", lambda _: 10**9)

    assert levels(check_shortage(checked))["forwards that ran out of memory on purpose"] == "FAIL"
