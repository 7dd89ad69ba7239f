"""`Wanted` and `Resources`: where a study is to run, and where its lanes can, as an executor found it."""

from dataclasses import dataclass, replace

from portal.config import DeviceChoice, DeviceKind
from sweeps.planning.devices import Device


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
    hardware: Device | None
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
