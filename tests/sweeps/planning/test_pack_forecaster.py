"""A pack is predicted as the cost model does it; packs that differ in seeds alone are predicted once."""

from pathlib import Path

import pytest

from sweeps.planning.checks import check_study
from sweeps.planning.cost_model import forecast, forward_tokens, peak_memory
from sweeps.planning.devices import find_device
from sweeps.planning.pack_forecaster import PackForecaster
from sweeps.planning.plan import plan_study
from sweeps.study.expand import load_study
from tests.support.studies import TINY


@pytest.mark.parametrize("device", ["cpu", "b200"])
def test_predictions_are_the_cost_models(study_path: Path, tmp_path: Path, device: str) -> None:
    study_path.write_text(TINY.replace("seeds: [0, 1]", "seeds: [0, 1, 2, 3]"))
    plan = plan_study(load_study(study_path), tmp_path, device=find_device(device), lanes=4)

    assert len(plan.packs) > 8
    for pack, predicted in zip(plan.packs, plan.forecasts, strict=True):
        works = [plan.checked.works[run.key] for run in pack.runs]
        how = plan.checked.how
        assert predicted == forecast(pack.runs, works, plan.device, how)
        assert plan.forward_tokens(pack) == forward_tokens(pack.runs, works, plan.device, how)
        assert plan.forecaster is not None
        assert plan.forecaster.peak_bytes(pack.runs) == peak_memory(pack.runs, works, plan.device, how)


def test_packs_that_differ_in_seeds_alone_are_predicted_once(study_path: Path) -> None:
    checked = check_study(load_study(study_path))
    loras = [run for run in checked.study.runs if run.method == "lora" and run.data.size == 8]
    small = [run for run in checked.study.runs if run.method == "lora" and run.data.size == 4]
    forecaster = PackForecaster(checked, find_device("b200"))

    assert {run.seed for run in loras} == {0, 1}
    assert forecaster.forecast(loras[:1]) is forecaster.forecast(loras[1:])
    assert forecaster.forecast(small[:1]) != forecaster.forecast(loras[:1])
    assert forecaster.forecast(loras) != forecaster.forecast(loras[:1])
