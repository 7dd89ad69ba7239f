"""`Executor`: what lanes run on, and the resources that it finds. One table has their names.

To add a way to run, write its class here and enter it in EXECUTORS. Neither torch nor Ray is imported before
something runs.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from portal.config import DeviceChoice, DeviceKind
from portal.messages import nearest, refusal

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from portal.storage.paths import Folder
    from sweeps.planning.devices import Device
    from sweeps.study.study_file import StudyFile
    from sweeps.worker.job import LaneJob


@dataclass(frozen=True)
class Wanted:
    """A kind of device, and the number of GPUs to wait for: with `cuda` at least one. ValueError on a CPU."""

    device: DeviceChoice = "auto"
    gpus: int = 0

    def __post_init__(self) -> None:
        if self.gpus and self.device == "cpu":
            raise ValueError(f"{self.gpus} GPUs are wanted with device 'cpu'; leave one of the two out")

    @classmethod
    def of(cls, device: DeviceChoice, gpus: int) -> "Wanted":
        """What a study with this device and a launch that waits for so many GPUs want together."""
        return cls("cuda" if gpus and device == "auto" else device, gpus)

    @property
    def num_gpus(self) -> int:
        """GPUs that must be there before anything starts."""
        return max(self.gpus, int(self.device == "cuda"))


@dataclass(frozen=True)
class Resources:
    """Slots for workers: so many on each of `nodes`, a slot with its own GPU when there are any.

    `hardware` is the smallest of the GPUs, or the CPU that the lanes share; None where it is not known.
    """

    nodes: tuple[int, ...]
    device: DeviceKind
    hardware: "Device | None"
    gpus_per_worker: float = 0.0

    def __str__(self) -> str:
        """How many workers there can be, and what each of them has."""
        slots = sum(self.nodes)
        workers = "1 worker" if slots == 1 else f"up to {slots} workers"
        if self.device == "cpu":
            return f"{workers} on {self.hardware.name if self.hardware else 'the CPUs of the cluster'}"
        if self.gpus_per_worker > 1:
            count = f"{self.gpus_per_worker:g}"
            gpu = f"{count} GPUs" if self.hardware is None else self.hardware.label
        elif self.hardware is not None:
            gpu = f"one {self.hardware.name}"
        else:
            gpu = "one GPU" if self.gpus_per_worker == 1 else "one part of a GPU"
        return f"{workers} on GPUs, each with {gpu}"

    def shared(self, gpus: float) -> "Resources":
        """The resources when each worker gets so many GPUs, or a share of one; those on a CPU stay.

        ValueError where no node has as many.
        """
        if self.device != "cuda" or gpus == 1.0:
            return self
        nodes = tuple(workers_on(slots, gpus) for slots in self.nodes)
        if not any(nodes):
            raise ValueError(
                f"gpus_per_worker: {gpus:g} takes as many GPUs of one node, the largest has {max(self.nodes)}"
            )
        return replace(
            self,
            nodes=nodes,
            hardware=None if self.hardware is None else self.hardware.for_worker(gpus),
            gpus_per_worker=gpus,
        )


def workers_on(gpus: int, gpus_per_worker: float) -> int:
    """Workers on a node of so many GPUs; one with a share of a GPU has it on one of them."""
    if gpus_per_worker < 1:
        return gpus * int(1 / gpus_per_worker)
    return gpus // int(gpus_per_worker)


ExecutorName = Literal["auto", "train", "plain", "local"]
TRAIN_START_S = 20.0
"""Seconds that a Train worker group takes to start and stop on two cores; a Tune actor takes four."""
WORTH_TRAIN_S = 20 * TRAIN_START_S
"""A lane of so many seconds is the shortest for which a worker group costs a twentieth at most."""


@dataclass(frozen=True)
class LaneRound:
    """Lanes that run at the same time, until all have ended.

    `lane_s` are the predicted seconds of a lane, None where they are unknown. `scratch` is the folder for
    what an executor keeps of its own; it is deleted in the end.
    """

    jobs: Sequence["LaneJob"]
    resources: "Resources"
    scratch: "Folder"
    lane_s: float | None


class Executor(Protocol):
    """A way to run lanes."""

    def check(self, settings: "StudyFile") -> None:
        """ValueError for a study that cannot run this way."""

    def open(
        self, out: "Folder", console: "Console", wanted: "Wanted"
    ) -> AbstractContextManager["Resources"]:
        """Open what there is to run on for a study in `out`, for as long as the block lasts.

        Waits for the GPUs that are `wanted`; ValueError where none can come.
        """

    def is_here(self) -> bool:
        """Whether all workers are on this machine."""

    def nodes_refusing(self, check: Callable[[], object], device: "DeviceKind") -> Mapping[str, str]:
        """By the names of machines that take workers on `device` and on which `check` raises ValueError: what
        it says.

        Within the block of `open`; every machine that is there is asked.
        """

    def encode(self, examples: "pa.Table", base: str, max_prompt: int) -> "pa.Table":
        """The examples in the tokens of the base, within the block of `open`."""

    def run(self, lanes: LaneRound) -> None:
        """Run the lanes and wait for all of them. One that dies frees its pack, or gives it up."""


def refusing_here(check: Callable[[], object]) -> dict[str, str]:
    """This machine's name with what the ValueError says that `check` raises; nothing where it raises none."""
    said = refusal(check)
    return {} if said is None else {socket.gethostname(): said}


class Local:
    """One lane in this process, on the CPU and without Ray."""

    def check(self, settings: "StudyFile") -> None:
        if settings.workers_per_pack != 1:
            raise ValueError(
                "executor 'local' is a single worker; workers_per_pack needs Ray's (auto, train or plain)"
            )

    @contextmanager
    def open(self, out: "Folder", console: "Console", wanted: "Wanted") -> Iterator["Resources"]:
        if wanted.num_gpus:
            raise ValueError("executor 'local' computes on the CPU; GPUs need Ray's (auto, train or plain)")
        from sweeps.planning.devices import find_device

        yield Resources((1,), "cpu", find_device("cpu"))

    def is_here(self) -> bool:
        return True

    def nodes_refusing(self, check: Callable[[], object], device: "DeviceKind") -> Mapping[str, str]:
        return refusing_here(check)

    def encode(self, examples: "pa.Table", base: str, max_prompt: int) -> "pa.Table":
        from sweeps.launch.tokenize import encode_table

        return encode_table(examples, base, max_prompt)

    def run(self, lanes: LaneRound) -> None:
        from sweeps.worker.lane import lane_log, run_lane

        for job in lanes.jobs:
            with lane_log(job.log_path()):
                run_lane(job, lambda finished: None)


@dataclass(frozen=True)
class OnRay:
    """Lanes as Ray Tune trials.

    `plain` ones are in the trial's own process, and quick to start; with `train` each has a Ray Train worker
    group below it, slow to start, restarted where one dies. `auto` is the one of the two that suits the
    device and the predicted length of the lanes.
    """

    way: Literal["auto", "train", "plain"]

    def check(self, settings: "StudyFile") -> None:
        """Every study can run this way."""

    def open(
        self, out: "Folder", console: "Console", wanted: "Wanted"
    ) -> AbstractContextManager["Resources"]:
        from sweeps.launch.ray_session import ray_session

        return ray_session(out, console, wanted)

    def is_here(self) -> bool:
        return not os.environ.get("RAY_ADDRESS")

    def nodes_refusing(self, check: Callable[[], object], device: "DeviceKind") -> Mapping[str, str]:
        from sweeps.launch.ray_session import nodes_refusing

        return nodes_refusing(check, device)

    def encode(self, examples: "pa.Table", base: str, max_prompt: int) -> "pa.Table":
        from sweeps.launch.ray_tokenize import encode

        return encode(examples, base, max_prompt)

    def run(self, lanes: LaneRound) -> None:
        from sweeps.launch.ray_lanes import run_lanes

        has_teams = any(job.workers > 1 for job in lanes.jobs)
        suited = suited_executor(lanes.lane_s, lanes.resources.device, has_teams=has_teams)
        run_lanes(lanes, with_train=(suited if self.way == "auto" else self.way) == "train")


EXECUTORS: Mapping[ExecutorName, Executor] = {
    "auto": OnRay("auto"),
    "train": OnRay("train"),
    "plain": OnRay("plain"),
    "local": Local(),
}


def find_executor(name: str) -> Executor:
    """The executor of that name; ValueError for an unknown one."""
    for known, executor in EXECUTORS.items():
        if known == name:
            return executor
    raise ValueError(f"unknown executor {name!r}{nearest(name, EXECUTORS)}")


def suited_executor(lane_s: float | None, device: "DeviceKind", *, has_teams: bool = False) -> ExecutorName:
    """The name of the executor for lanes of so many predicted seconds; None: they are unknown.

    On a CPU each lane has a core, which a worker group's helpers would share; a team is always one.
    """
    is_short = lane_s is not None and lane_s < WORTH_TRAIN_S
    return "plain" if not has_teams and (is_short or device == "cpu") else "train"
