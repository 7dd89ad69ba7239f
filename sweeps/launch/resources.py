"""`Resources`: where lanes can run, as an executor found it."""

from dataclasses import dataclass, replace

from sweeps.planning.devices import Device


@dataclass(frozen=True)
class Resources:
    """Slots for workers: so many on each of `nodes`, a slot with its own GPU when there are any.

    `hardware` is the smallest of the GPUs, or the CPU that the lanes share; None where it is not known.
    """

    nodes: tuple[int, ...]
    device: str
    hardware: Device | None
    gpus_per_worker: float = 0.0

    def shared(self, share: float) -> "Resources":
        """The resources when each lane gets this share of a GPU; those on a CPU stay as they are."""
        if self.device != "cuda" or share == 1.0:
            return self
        return replace(
            self,
            nodes=tuple(slots * int(1 / share) for slots in self.nodes),  # none is spread over two GPUs
            hardware=None if self.hardware is None else self.hardware.part(share),
            gpus_per_worker=share,
        )
