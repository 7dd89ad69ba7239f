"""`SettledRuns`: the runs that nothing waits for any longer, since they are finished or cannot start."""

from collections.abc import Collection

from sweeps.store.run_store import FinishedRuns, RunStore


class SettledRuns:
    """Runs that are finished, and runs that cannot start: one that they start from, at any depth, has failed.

    `elsewhere` are keys of artifacts that no run of the folder makes. The others' configs are in the folder.
    """

    def __init__(self, store: RunStore, elsewhere: Collection[str] = ()) -> None:
        self.finished = FinishedRuns(store, elsewhere)
        self._store, self._elsewhere = store, frozenset(elsewhere)
        self._parents: dict[str, tuple[str, ...]] = {}
        self._failed: dict[str, bool] = {}  # of finished runs

    def __contains__(self, key: str) -> bool:
        return key in self.finished or self._cannot_start(key)

    def _cannot_start(self, key: str) -> bool:
        """Whether a parent of the unfinished run has failed, or cannot start itself."""
        if key not in self._parents:
            self._parents[key] = self._store.read_run(key).parent_keys
        return any(
            self._has_failed(parent) if parent in self.finished else self._cannot_start(parent)
            for parent in self._parents[key]
        )

    def _has_failed(self, key: str) -> bool:
        """Whether the finished run left nothing to start from."""
        if key not in self._failed:
            self._failed[key] = key not in self._elsewhere and not self._store.is_done(key)
        return self._failed[key]
