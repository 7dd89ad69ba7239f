"""Answers of a batch are those of its rows alone, and a fault in weights or adapters makes a line fail."""

from itertools import islice

import torch

from sweeps.gpu_check import answers
from sweeps.gpu_check.answers import check_answers
from sweeps.gpu_check.world import SLIDING, TARGET, CheckWorld
from tests.support.precision import cpu_with


def test_answers_on_this_cpu_pass(checked: CheckWorld) -> None:
    found = list(check_answers(checked))

    assert {each.level for each in found if "fp32" in each.what} == {"PASS"}
    assert [each.value for each in found if "fp32" in each.what] == [1.0, 1.0]


def test_bf16_has_lines_of_its_own(fresh: CheckWorld) -> None:
    with cpu_with("avx512_bf16"):
        found = list(check_answers(fresh))

    assert ["bf16" in each.what for each in found] == [False, True, False, True]
    assert {each.level for each in found} == {"PASS"}


@torch.no_grad()
def test_wrong_weights_on_the_device_make_the_line_fail(fresh: CheckWorld) -> None:
    for parameter in fresh.base(TARGET, "fp32").model.parameters():
        parameter.copy_(parameter.roll(1, dims=0))

    assert [each.level for each in islice(check_answers(fresh), 1)] == ["FAIL"]


@torch.no_grad()
def test_wrong_weights_in_bf16_make_its_line_fail(fresh: CheckWorld) -> None:
    with cpu_with("avx512_bf16"):
        for base in (TARGET, SLIDING):
            for parameter in fresh.base(base, "own").model.parameters():
                parameter.copy_(parameter.roll(1, dims=0))
        found = list(check_answers(fresh))

    assert [each.level for each in found] == ["PASS", "FAIL", "PASS", "FAIL"]


@torch.no_grad()
def test_a_fault_of_attention_that_slides_makes_its_line_fail(fresh: CheckWorld) -> None:
    for parameter in fresh.base(SLIDING, "fp32").model.parameters():
        parameter.copy_(parameter.roll(1, dims=0))

    found = [each.level for each in check_answers(fresh) if "fp32" in each.what]

    assert found == ["PASS", "FAIL"]


def test_adapters_matter_to_the_answers(fresh: CheckWorld) -> None:
    """Else rows that got another's adapter would pass."""
    requests = answers._requests(fresh, TARGET)
    learner = fresh.pack([answers._LABEL], "fp32", TARGET).learners[0]
    base, factors = fresh.base(TARGET, "fp32"), answers._factors(learner, TARGET)
    swapped = {site: (a.roll(1, 0), b.roll(1, 0)) for site, (a, b) in factors.items()}
    first, second = (
        dict(answers.generate(base, requests, each, learner.adapter.scaling)) for each in (factors, swapped)
    )

    changed = [number for number in first if first[number].tokens != second[number].tokens]
    assert len(changed) > 0.1 * len(requests)
    assert all(requests[number].slot is not None for number in changed)
