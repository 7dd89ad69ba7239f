"""`LaneJob`: the work of a lane, in plain values that travel to its workers."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from portal.bases.operations import Operations, wanted_operations
from portal.config import Activations
from portal.storage.paths import Folder, local_place, open_folder
from sweeps.store.run_store import PackStore, RunStore
from sweeps.store.session import Session

CHECKPOINT_S = 60.0
"""Seconds between checkpoints, or more where one takes long to write; PORTAL_CHECKPOINT_S says otherwise."""
INTERVAL_VARIABLE = "PORTAL_CHECKPOINT_S"
CHECKPOINT_RATIO = 20
"""Without PORTAL_CHECKPOINT_S, so many times what a checkpoint took to write lie between two."""


def checkpoint_interval_s() -> float | None:
    """Seconds between checkpoints as PORTAL_CHECKPOINT_S has them; None where it is not set.

    ValueError when it is no positive number.
    """
    text = os.environ.get(INTERVAL_VARIABLE)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ValueError(f"{INTERVAL_VARIABLE}={text!r} is not a positive number of seconds")
    return seconds


Start = Literal["now", "teams placed", "teams ended"]
"""When a lane begins, where some lanes have several workers."""


@dataclass(frozen=True)
class PackJob:
    """A pack as a worker needs it: `bases` by name, and in `needs` the runs to wait for.

    Runs travel as keys: each worker reads their configs from the output folder, which is the truth.
    """

    key: str
    stage: int
    runs: tuple[str, ...]
    needs: tuple[str, ...]
    bases: tuple[str, ...]
    max_tokens: Mapping[str, int] = field(default_factory=dict)  # of one forward, by base


@dataclass(frozen=True)
class LaneJob:
    """The work of one lane, in plain values only."""

    out: str
    token: str  # of the driver's lease
    lane: int
    packs: tuple[PackJob, ...]  # in the order in which this lane prefers them
    rows: Mapping[str, str]  # base name -> token cache
    sources: Mapping[str, str] = field(default_factory=dict)  # digest -> folder of an artifact made elsewhere
    device: str = "cpu"
    gpus_per_worker: float = 1.0  # a share of one, or several that bases are divided over
    threads: int = 1
    workers: int = 1  # that step each pack together
    teams: tuple[int, ...] = ()  # lanes whose packs this one cannot take
    start: Start = "now"
    activations: Activations = "keep"
    workdir: str = field(default_factory=os.getcwd)  # where relative paths of bases start
    checkpoint_s: float | None = field(default_factory=checkpoint_interval_s)
    operations: Operations | None = field(default_factory=wanted_operations)

    @property
    def num_gpus(self) -> int:
        """GPUs of a worker, one of which it may share."""
        return max(1, int(self.gpus_per_worker))

    @cached_property
    def folder(self) -> Folder:
        """The study's output folder."""
        return open_folder(self.out)

    @property
    def run_store(self) -> RunStore:
        return RunStore(self.folder)

    @property
    def pack_store(self) -> PackStore:
        return PackStore(self.folder)

    @property
    def session(self) -> Session:
        """What the lanes of the driver tell each other."""
        return Session(self.folder, self.token)

    def log_path(self, rank: int = 0) -> Path:
        """The log file of the lane's worker of that rank."""
        return log_path(self.folder, self.lane, rank)


def log_path(out: Folder, lane: int, rank: int = 0) -> Path:
    """The log file of a worker of the lane, on the machine where it runs; rank 0 leads its worker group."""
    name = f"lane-{lane}.{rank}.log" if rank else f"lane-{lane}.log"
    return local_place(out) / "logs" / name
