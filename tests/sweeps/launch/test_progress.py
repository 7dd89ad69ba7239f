"""A stage's line says how far its runs are."""

import pytest

from sweeps.launch.progress import StageState


def state(**changes: object) -> StageState:
    values = {"stage": 1, "done": 1, "total": 4, "share": 0.379, "steps_per_s": 2.04, "loss": 0.5}
    return StageState(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "eta_s", "text"),
    [
        ({}, 65.0, "1/4 runs  37 %  2.0 steps/s  loss 0.500  ETA 1:05"),
        ({"total": 1, "done": 0, "share": 0.999, "loss": None}, None, "0/1 runs  99 %  2.0 steps/s"),
        ({"done": 0, "share": 0.0, "steps_per_s": 0.0, "loss": None}, None, "0/4 runs"),
        ({"done": 4, "share": 1.0, "steps_per_s": 0.0, "loss": None}, 9.0, "4/4 runs"),
    ],
)
def test_a_line_has_runs_share_speed_loss_and_what_is_left(
    changes: dict[str, object], eta_s: float | None, text: str
) -> None:
    assert state(**changes).text(eta_s) == text
