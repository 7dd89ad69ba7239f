"""`PlannedPack`: runs that are stepped together, as a plan sees them."""

from dataclasses import dataclass

from portal.config import RunConfig


@dataclass(frozen=True)
class PlannedPack:
    """Runs that share their bases and adapter shape and are stepped together. `cost` is in multiply-adds."""

    key: str
    stage: int
    members: tuple[str, ...]  # keys of all runs, the finished ones too
    runs: tuple[RunConfig, ...]  # those that are left
    cost: float

    @property
    def bases(self) -> tuple[str, ...]:
        return tuple(ref.name for ref in self.runs[0].bases)

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the runs that must be finished first."""
        return tuple(dict.fromkeys(key for run in self.runs for key in run.parent_keys))

    @property
    def urgency(self) -> int:
        """Lower ones start first: joint training, since ports wait for it; ports last."""
        return 0 if self.runs[0].spec.runs_on == "sources" else self.stage

    @property
    def label(self) -> str:
        """What it trains, for people."""
        methods = dict.fromkeys(run.method for run in self.runs)
        return f"{', '.join(methods)} on {'+'.join(self.bases)}"
