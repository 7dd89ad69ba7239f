"""A process in which a package that is installed is not there."""

import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution
from types import ModuleType
from typing import Any


def hide(package: str) -> None:
    """Let no finder of this process find the package, or what is known of its installation."""
    sys.meta_path[:] = [_Hiding(finder, package) for finder in sys.meta_path]


class _Hiding:
    """A finder that does not find one package."""

    def __init__(self, finder: Any, package: str) -> None:
        self._finder, self._package = finder, package

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] == self._package:
            return None
        found: ModuleSpec | None = self._finder.find_spec(name, path, target)
        return found

    def find_distributions(self, *context: Any) -> Iterator[Distribution]:
        find = getattr(self._finder, "find_distributions", None)
        for each in [] if find is None else find(*context):
            if each.metadata["Name"] != self._package:
                yield each

    def invalidate_caches(self) -> None:
        invalidate = getattr(self._finder, "invalidate_caches", None)
        if invalidate is not None:
            invalidate()
