"""`RunGroups`: which runs may share a pack, and the packs that they make within a limit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portal.config import RunConfig
from sweeps.store.pack_store import pack_key
from sweeps.study.expand import Study, stage_of

KeyedRuns = tuple[str, tuple[RunConfig, ...]]
"""The key of a pack, and its runs."""


@dataclass(frozen=True)
class RunGroups:
    """A study's runs: `recorded` packs, which stay as they are, and groups of runs that may share packs."""

    recorded: tuple[KeyedRuns, ...]
    groups: tuple[tuple[RunConfig, ...], ...]
    pack_size: int

    def packs(self, fits: Callable[[Sequence[RunConfig]], bool]) -> list[KeyedRuns]:
        """All packs. A new one has at most `pack_size` runs, and fewer where more would not fit."""
        split = (runs for group in self.groups for runs in _split(group, self.pack_size, fits))
        return [*self.recorded, *((pack_key([run.key for run in runs]), runs) for runs in split)]


def group_runs(study: Study, recorded: Mapping[str, Sequence[str]]) -> RunGroups:
    """Group the study's runs; those that are in no recorded pack by stage, bases and adapter shape."""
    free = dict(study.by_key)
    kept = []
    for key, members in recorded.items():
        runs = tuple(free.pop(member) for member in members if member in free)
        if runs:
            kept.append((key, runs))
    groups: dict[tuple[Any, ...], list[RunConfig]] = {}
    for run in free.values():
        trains = run.train is not None
        groups.setdefault((stage_of(run), trains, run.bases, run.adapter, run.data.tasks), []).append(run)
    for group in groups.values():
        group.sort(key=lambda run: (run.method, -(run.data.size or 0), run.seed or 0, run.key))
    return RunGroups(tuple(kept), tuple(map(tuple, groups.values())), study.settings.pack_size)


def _split(
    group: Sequence[RunConfig], pack_size: int, fits: Callable[[Sequence[RunConfig]], bool]
) -> list[tuple[RunConfig, ...]]:
    """Split a group into as few packs as are small enough; each gets its share of the long runs."""
    count = -(-len(group) // pack_size)
    while count < len(group) and not all(fits(group[first::count]) for first in range(count)):
        count += 1
    return [tuple(group[first::count]) for first in range(count)]
