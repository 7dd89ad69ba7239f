"""`PackForecaster`: what packs of one study take on one device."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from portal.config import RunConfig
from sweeps.planning.checks import CheckedStudy
from sweeps.planning.cost_model import Forecast, forecast, forward_tokens, load_seconds, peak_memory
from sweeps.planning.devices import Device
from sweeps.planning.workload import Work

_Value = TypeVar("_Value")
_Kinds = tuple[int, ...]


class PackForecaster:
    """Predictions for packs of runs of a checked study; packs of the same kinds of runs are predicted once.

    A study of fifty thousand runs has a few hundred kinds of packs, and planning looks at each pack many
    times.
    """

    def __init__(self, checked: CheckedStudy, device: Device) -> None:
        self.device = device
        self._checked = checked
        self._peaks: dict[_Kinds, float] = {}
        self._forecasts: dict[_Kinds, Forecast] = {}
        self._limits: dict[_Kinds, dict[str, int]] = {}

    def fits(self, runs: Sequence[RunConfig]) -> bool:
        """Whether the runs fit the device's memory together."""
        return self.peak_bytes(runs) <= self.device.budget_bytes

    def peak_bytes(self, runs: Sequence[RunConfig]) -> float:
        """Peak memory in bytes with an ample forward."""
        return self._once(
            self._peaks, runs, lambda works: peak_memory(runs, works, self.device, self._checked.how)
        )

    def forecast(self, runs: Sequence[RunConfig]) -> Forecast:
        """Memory, operations and hours of a pack of these runs."""
        return self._once(
            self._forecasts, runs, lambda works: forecast(runs, works, self.device, self._checked.how)
        )

    def forward_tokens(self, runs: Sequence[RunConfig]) -> dict[str, int]:
        """The most padded tokens of a training forward, by base."""
        return self._once(
            self._limits, runs, lambda works: forward_tokens(runs, works, self.device, self._checked.how)
        )

    def load_seconds(self, run: RunConfig) -> float:
        """Seconds to read the weights of the run's bases."""
        return load_seconds(run, self.device)

    def _once(
        self,
        known: dict[_Kinds, _Value],
        runs: Sequence[RunConfig],
        predict: Callable[[Sequence[Work]], _Value],
    ) -> _Value:
        kinds = tuple(self._checked.kinds[run.key] for run in runs)
        if kinds not in known:
            known[kinds] = predict([self._checked.works[run.key] for run in runs])
        return known[kinds]
