"""Bases in 8 and 4 bits pass on this CPU, and every line can fail."""

from dataclasses import replace

import pytest
import torch

from portal.bases.base import Base
from sweeps.gpu_check import quantised
from sweeps.gpu_check.quantised import PRECISIONS, check_quantised, misread_weights
from sweeps.gpu_check.world import TARGET, CheckWorld, Where
from tests.support.findings import levels
from tests.support.leaks import leak_between_companions, wait_for_the_gpu

pytestmark = pytest.mark.slow


def test_bases_in_8_and_4_bits_pass_on_this_cpu(
    checked: CheckWorld, caplog: pytest.LogCaptureFixture
) -> None:
    found = list(check_quantised(checked))

    whole, small = (checked.base(TARGET, precision) for precision in ("fp32", "4bit"))
    if misread_weights(small, whole):
        assert [each.level for each in found] == ["PASS"] * 6 + ["SKIP"]
        assert "reads 4-bit weights wrongly" in str(found[-1])
    else:
        assert [each.level for each in found] == ["PASS"] * 4 * len(PRECISIONS)
    assert not [each for each in caplog.records if each.name.startswith("bitsandbytes")]


def test_companions_that_change_a_gradient_are_found(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak_between_companions(monkeypatch, 1.1)

    found = levels(check_quantised(checked))

    assert {level for what, level in found.items() if "gradient beside a companion" in what} == {"FAIL"}


@torch.no_grad()
def test_gradients_on_other_weights_are_found(fresh: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "misread_weights", lambda *_: [])  # these weights differ on purpose
    for parameter in fresh.base(TARGET, "fp32").model.parameters():
        parameter.copy_(parameter.roll(1, dims=0))

    with torch.enable_grad():
        found = levels(check_quantised(fresh))

    for precision in PRECISIONS:
        assert found[f"{precision}: cosine of a gradient with that on whole weights"] == "FAIL"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_step_that_waits_for_the_device_is_a_warning(
    fresh: CheckWorld, monkeypatch: pytest.MonkeyPatch, precision: Where
) -> None:
    base = fresh.base(TARGET, precision)
    if precision == "4bit" and misread_weights(base, fresh.base(TARGET, "fp32")):
        pytest.skip("bitsandbytes reads 4-bit weights wrongly on this CPU")
    wait_for_the_gpu(monkeypatch, base.model, waits=True)
    monkeypatch.setattr(CheckWorld, "is_gpu", property(lambda _: True))

    found = levels(check_quantised(fresh))

    assert found[f"{precision}: steps that waited for the device"] == "WARN"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_layers_that_are_not_found_and_weights_that_are_miscounted_are_lines_that_failed(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch, precision: Where
) -> None:
    load, count = CheckWorld.base, Base.num_decoder_params.func

    def without_a_site(world: CheckWorld, name: str, where: Where) -> Base:
        base = load(world, name, where)
        return replace(base, sites=base.sites[1:]) if where == precision else base

    def miscount(base: Base) -> int:
        is_whole = base is load(checked, TARGET, "fp32")
        return count(base) if is_whole else count(base) + 1

    monkeypatch.setattr(CheckWorld, "base", without_a_site)
    monkeypatch.setattr(Base, "num_decoder_params", property(miscount))

    found = levels(check_quantised(checked))

    for each in PRECISIONS:
        missing = found[f"{each}: linear layers that cannot be adapted"]
        assert missing == ("FAIL" if each == precision else "PASS")
        assert found[f"{each}: weights that costs are not counted with"] == "FAIL"
    assert not any(what.startswith(f"{precision}: cosine") for what in found)


def test_packed_weights_that_are_taken_for_whole_ones_are_found(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count_elements(base: Base) -> int:
        return sum(each.numel() for each in base.model.get_submodule(base.layer_path).parameters())

    monkeypatch.setattr(Base, "num_decoder_params", property(count_elements))

    found = levels(check_quantised(checked))

    assert found["8bit: weights that costs are not counted with"] == "PASS"
    assert found["4bit: weights that costs are not counted with"] == "FAIL"


def test_without_the_library_the_lines_are_left_out(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)

    (line,) = check_quantised(checked)

    assert line.level == "SKIP"
    assert "'quantised'" in line.note
