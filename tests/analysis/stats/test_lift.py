"""Lift and retention are undefined, with a reason, where a number is missing or the LoRA does not rise."""

import pytest

from analysis.stats.lift import recovered_lift, retention


def test_lift_is_undefined_with_a_reason_when_the_lora_does_not_rise() -> None:
    lift = recovered_lift(0.7, 0.6, 0.6)
    assert lift.value is None
    assert "does not rise" in (lift.reason or "")


@pytest.mark.parametrize(("accuracy", "base", "lora"), [(None, 0.5, 0.6), (0.5, None, 0.6), (0.5, 0.4, None)])
def test_lift_is_undefined_with_a_reason_when_a_number_is_missing(
    accuracy: float | None, base: float | None, lora: float | None
) -> None:
    lift = recovered_lift(accuracy, base, lora)
    assert lift.value is None
    assert lift.reason


def test_retention_is_undefined_without_a_lora() -> None:
    assert retention(0.5, None).value is None
