"""`LaneLayout`: how many lanes there are, and of how many workers each is. No Ray."""

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.study.study_file import WorkersPerPack
from sweeps.worker.job import Start

WORKER_CPUS = 0.9
"""CPUs that Ray reserves per worker: below 1, so that as many workers as CPUs fit beside their trials."""


@dataclass(frozen=True)
class LaneLayout:
    """How many lanes there are: those with a team of `team_size` workers come first, then single workers.

    Beside the teams there is room for `beside` single workers; the others start when all teams have ended.
    """

    teams: int
    team_size: int
    singles: int
    beside: int

    @property
    def count(self) -> int:
        return self.teams + self.singles

    @property
    def num_workers(self) -> int:
        """The most workers that run at a time."""
        return max(self.teams * self.team_size + min(self.beside, self.singles), self.singles)

    def workers(self, lane: int) -> int:
        return self.team_size if lane < self.teams else 1

    def takes(self, lane: int, num_bases: int) -> bool:
        """Whether the lane takes packs of so many bases."""
        return self.singles == 0 or self.teams == 0 or (lane < self.teams) == (num_bases > 1)

    def start(self, lane: int) -> Start:
        """What the lane waits for: a team's workers must find room on one node, so teams go first."""
        if self.teams == 0 or lane < self.teams:
            return "now"
        return "teams placed" if lane - self.teams < self.beside else "teams ended"


def lay_out(bases: Sequence[int], nodes: Sequence[int], workers_per_pack: WorkersPerPack) -> LaneLayout:
    """Lay out lanes for packs of so many `bases` each, on nodes with room for so many workers.

    ValueError when a team does not fit a node.
    """
    slots = sum(nodes)
    joint = [count for count in bases if count > 1]
    size = max(joint, default=1) if workers_per_pack == "bases" else workers_per_pack
    fitting = sum(node // size for node in nodes)
    if fitting == 0:
        raise ValueError(
            f"workers_per_pack: {workers_per_pack} takes {size} workers on one node, the largest has room "
            f"for {max(nodes, default=0)}"
        )
    if size == 1:
        return LaneLayout(0, 1, max(1, min(slots, len(bases))), 0)
    if workers_per_pack != "bases":
        return LaneLayout(max(1, min(fitting, len(bases))), size, 0, 0)
    teams = min(len(joint), fitting)
    return LaneLayout(teams, size, min(slots, len(bases) - len(joint)), slots - teams * size)
