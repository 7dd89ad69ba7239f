"""Result rows of a run while it trains: of all its evaluations once it is finished, else of those so far."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from portal.results import RESULTS, RESULTS_FILE, read_table
from portal.storage.paths import Folder, matching
from sweeps.store.run_store import RunStore


def live_rows(store: RunStore, key: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows, evaluation by evaluation; they end early where the run finishes while they are read."""
    for path in _tables(store, key):
        try:
            table = read_table(path, RESULTS, columns=columns)
        except ValueError:
            if path.is_file():
                raise
            return  # the parts are gone: the run's own table is there next time
        yield from table.to_pylist()


def evaluated_parts(store: RunStore) -> dict[str, int]:
    """Number of evaluations of each run that is not finished, by key."""
    return Counter(path.parent.name for path in matching(store.out, f"packs/*/parts/*/*.{RESULTS_FILE}"))


def _tables(store: RunStore, key: str) -> list[Folder]:
    """The run's table, or while it trains those of its evaluations so far."""
    if store.is_done(key):
        return [store.run_folder(key) / RESULTS_FILE]
    return matching(store.out, f"packs/*/parts/{key}/*.{RESULTS_FILE}")
