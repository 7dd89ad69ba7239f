"""What a plan predicts: packing saves starts and launches, and never arithmetic."""

import pytest

from portal.devices import GPUS, find_device
from sweeps.forecast import duration
from sweeps.plan import plan_study
from sweeps.study import load_study


@pytest.mark.parametrize("name", ["b200", "h200", "h100", "a100", "cpu"])
def test_packed_is_never_slower_than_one_by_one(name, study_path, tmp_path):
    plan = plan_study(load_study(study_path), tmp_path)

    forecasts = plan.forecasts(find_device(name))

    assert len(forecasts) == len(plan.packs)
    for each in forecasts:
        assert 0 < each.hours < each.hours_alone
        assert 0 < each.memory_bytes < find_device(name).budget_bytes
    packed, alone = plan.totals(forecasts)
    assert packed < alone


def test_operations_do_not_depend_on_the_device(study_path, tmp_path):
    plan = plan_study(load_study(study_path), tmp_path)

    sums = {sum(each.flops for each in plan.forecasts(gpu)) for gpu in GPUS.values()}

    assert len(sums) == 1


def test_an_unknown_device_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown device 'b20'; did you mean 'b200'"):
        find_device("b20")


@pytest.mark.parametrize(
    ("hours", "text"), [(0.001, "4 s"), (0.5, "30.0 min"), (0.999, "59.9 min"), (7.25, "7.2 h")]
)
def test_a_duration_is_short_to_read(hours, text):
    assert duration(hours) == text
