"""Numbers of the device are those of the CPU, and a fault in them makes a line fail."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from portal.forward import output_head
from portal.storage.checkpoint import Checkpoint, load_latest
from portal.storage.paths import Folder
from sweeps.gpu_check import numbers
from sweeps.gpu_check.numbers import check_gradients, check_resume, check_scores
from sweeps.gpu_check.world import LABELS, SLIDING, TARGET, CheckWorld, Where
from tests.support.findings import levels
from tests.support.precision import cpu_with


@torch.no_grad()
def spoil(world: CheckWorld, where: Where, base: str = TARGET) -> None:
    """Turn the weights of a base on the device around."""
    for parameter in world.base(base, where).model.parameters():
        parameter.copy_(parameter.roll(1, dims=0))


def test_bf16_is_held_to_fp32_and_wrong_weights_in_it_make_its_lines_fail(fresh: CheckWorld) -> None:
    with cpu_with("avx512_bf16"):
        found, scored = list(check_gradients(fresh)), list(islice(check_scores(fresh), 3))
        spoil(fresh, "own")
        wrong, misscored = list(islice(check_gradients(fresh), 8)), list(islice(check_scores(fresh), 2))

    assert len(found) > 8
    assert {each.level for each in (*found, *scored)} == {"PASS"}
    assert all("bf16" in each.what for each in (*found[4:8], *scored[1:]))
    assert [each.level for each in wrong] == ["PASS"] * len(LABELS) + ["FAIL"] * len(LABELS)
    assert [each.level for each in misscored] == ["PASS", "FAIL"]


def test_wrong_weights_on_the_device_make_the_lines_in_fp32_fail(fresh: CheckWorld) -> None:
    """Of the base that has them, the one with a sliding window, and of no other."""
    spoil(fresh, "fp32", SLIDING)
    with cpu_with():
        gradients, scores = list(check_gradients(fresh)), list(check_scores(fresh))

    assert [each.level for each in gradients] == ["PASS"] * len(LABELS) + ["FAIL"] * len(LABELS) + ["SKIP"]
    assert [each.level for each in scores] == ["PASS", "FAIL", "SKIP"]


def test_logits_that_are_rounded_tie_and_are_found(
    fresh: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = output_head._product
    monkeypatch.setattr(
        output_head, "_product", lambda *operands: product(*operands).to(torch.float8_e5m2).float()
    )
    with cpu_with("avx512_bf16"):
        found = levels(check_scores(fresh))

    ties = [found[f"{base}: rows whose likeliest choices tie in bf16"] for base in (TARGET, SLIDING)]
    assert ties == ["FAIL"] * 2


def test_a_checkpoint_that_forgets_is_found(checked: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(folder: Folder) -> Checkpoint | None:
        found = load_latest(folder)
        assert found is not None
        name = next(name for name in found.tensors if name.endswith("exp_avg"))
        return replace(found, tensors={**found.tensors, name: found.tensors[name] * 0})

    assert {(each.level, each.value) for each in check_resume(checked)} == {("PASS", 0)}
    monkeypatch.setattr(numbers, "load_latest", forget)

    found = levels(check_resume(checked))

    assert len(found) == 2 * len(LABELS)
    assert {*found.values()} == {"FAIL"}
