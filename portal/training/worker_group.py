"""`WorkerGroup`: processes that step one pack together.

All hold the same learners; each runs its share of the rows.

With as many bases as workers or more, a base has one worker. With fewer, a base's rows are divided among its
workers. What the shares give for the adapters' factors is summed, so every worker takes the same step.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from portal.device import is_out_of_memory
from portal.forward.microbatch import SlotRows

_Value = TypeVar("_Value")
_LONGEST_WAIT = timedelta(hours=2)
"""For another worker, which may be fetching a large base. One that has died is noticed at once, one that
hangs not before."""


class OutOfMemoryElsewhere(MemoryError):  # noqa: N818 - what has happened
    """Another worker of the group ran out of memory in this step."""


class Sharding:
    """Which bases and rows are the part of worker `rank` among `size`."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    @property
    def is_leader(self) -> bool:
        """Whether this worker is the one that writes."""
        return self.rank == 0

    def holds(self, place: int, count: int) -> bool:
        """Whether this worker has the base at `place` among `count` of them."""
        return self.rank in self._workers_of(place, count)

    def share(self, slots: Sequence[SlotRows], place: int, count: int) -> list[SlotRows]:
        """This worker's rows of the base at `place`; a slot may be left out or be there in part."""
        workers = self._workers_of(place, count)
        if self.rank not in workers:
            return []
        if len(workers) == 1:
            return list(slots)
        first, step = workers.index(self.rank), len(workers)
        return [slot.part(rows) for slot in slots if (rows := slot.rows[first::step])]

    def scores(self, part: int, place: int, count: int) -> bool:
        """Whether this worker scores part number `part` of what is to be scored on the base at `place`."""
        workers = self._workers_of(place, count)
        return workers[part % len(workers)] == self.rank

    def _workers_of(self, place: int, count: int) -> list[int]:
        if count >= self.size:
            return [place % self.size]
        return [rank for rank in range(self.size) if rank % count == place]


class WorkerGroup(Sharding):
    """This process among those that step a pack; a group of one holds everything and waits for nobody.

    For more, torch.distributed must be initialised; every method that waits is called by all workers, and so
    is the constructor. It exchanges a number, so that NCCL takes its buffers before bases fill the device.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        super().__init__(rank, size)
        self._talk = distributed.new_group(timeout=_LONGEST_WAIT, backend="gloo") if size > 1 else None
        if size > 1:
            on_gpu = distributed.get_backend() == "nccl"
            self.all_reduce_sum([torch.zeros(1, device="cuda" if on_gpu else "cpu")])

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """In place, over all workers."""
        if self.size > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)

    def barrier(self, *, failed: bool = False) -> None:
        """Wait for all; OutOfMemoryElsewhere unless every other worker is well. `failed`: this one is not."""
        if self._talk is None:
            return
        count = torch.tensor([float(failed)])
        distributed.all_reduce(count, group=self._talk)
        if count.item() and not failed:
            raise OutOfMemoryElsewhere("another worker of this pack ran out of memory")

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """All workers come through the block, or none: one that is out of memory there tells the others.

        They raise OutOfMemoryElsewhere at its end. Inside, no worker waits for another.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                self.barrier(failed=True)
            raise
        self.barrier()

    @contextmanager
    def no_way_back(self) -> Iterator[None]:
        """For a block that the others come through: where one runs out of memory there, the group ends."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if self.size > 1 and is_out_of_memory(error):
                raise RuntimeError(
                    "no memory for an update that others have made: the worker group ends"
                ) from error
            raise

    def all_gather(self, value: _Value) -> list[_Value]:
        """The values of all workers, in the order of their ranks; pickled between these processes only."""
        if self._talk is None:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self._talk)
        return values

    def broadcast(self, value: _Value) -> _Value:
        """The leader's value."""
        if self._talk is None:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self._talk)
        return box[0]

    def all_reduce_min(self, limits: Mapping[str, int]) -> dict[str, int]:
        """By key, the smallest value that any worker has."""
        everyone = self.all_gather(dict(limits))
        return {key: min(own[key] for own in everyone) for key in limits}
