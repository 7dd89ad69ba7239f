"""`Tracker`: where runs are logged. A run of the study is a run there, its epochs are steps.

Addresses and tokens come from the environment, as each tracker reads it; none of them is stored here. A
tracker's methods raise whatever its library raises: they are called in a process of their own.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar


class Tracker(ABC):
    """A place where runs are logged: each is opened once per launch, logged epoch by epoch, and ended once.

    `name` is the tracker's for `--tracker`, `module` the one to import, `package` what pip installs.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, study: str, folder: Path) -> None:
        self.study = study

    @classmethod
    def check(cls) -> None:
        """ValueError when its library is not installed, or its address is not set."""
        if find_spec(cls.module) is None:
            raise ValueError(f"tracker {cls.name}: not installed; `pip install '{cls.package}'` brings it")

    @classmethod
    def address(cls) -> str:
        """The place that it logs to, which is kept only as a digest."""
        return ""

    @abstractmethod
    def open(self, key: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        """Begin the run of that content key, or go on with the one `known` by its id; returns the id."""

    def configure(self, key: str, config: Mapping[str, Any]) -> None:  # noqa: B027 - most do when they open
        """Log the config of an open run, once."""

    @abstractmethod
    def log(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an epoch of an open run."""

    @abstractmethod
    def end(self, key: str, *, failed: bool) -> None:
        """End an open run."""

    def close(self) -> None:  # noqa: B027 - most have nothing to do
        """End this launch's logging; runs that have not ended go on in the next one."""
