"""Which runs share a pack: alike in stage, bases and adapter shape, and within a device's memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from portal.config import RunConfig
from sweeps.store.run_store import pack_key
from sweeps.study.expand import Study, stage_of


def group_packs(
    study: Study, recorded: Mapping[str, Sequence[str]], fits: Callable[[Sequence[RunConfig]], bool]
) -> list[tuple[str, tuple[RunConfig, ...]]]:
    """(key, runs) of all packs: recorded ones as they were, the rest by stage, bases and adapter shape.

    A new pack has at most the study's `pack_size` runs, and fewer where more would not fit.
    """
    free = dict(study.by_key)
    packs = []
    for key, members in recorded.items():
        runs = tuple(free.pop(member) for member in members if member in free)
        if runs:
            packs.append((key, runs))
    groups: dict[tuple[Any, ...], list[RunConfig]] = {}
    for run in free.values():
        trains = run.train is not None
        groups.setdefault((stage_of(run), trains, run.bases, run.adapter, run.data.tasks), []).append(run)
    for group in groups.values():
        group.sort(key=lambda run: (run.method, -(run.data.size or 0), run.seed or 0, run.key))
        for runs in _split(group, study.settings.pack_size, fits):
            packs.append((pack_key([run.key for run in runs]), runs))
    return packs


def _split(
    group: Sequence[RunConfig], pack_size: int, fits: Callable[[Sequence[RunConfig]], bool]
) -> list[tuple[RunConfig, ...]]:
    """As few packs as are small enough; every one gets its share of the long runs."""
    count = -(-len(group) // pack_size)
    while True:
        packs = [tuple(group[first::count]) for first in range(count)]
        if count == len(group) or all(fits(runs) for runs in packs):
            return packs
        count += 1
