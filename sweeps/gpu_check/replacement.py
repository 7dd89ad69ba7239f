"""Bases that take each other's place, as a lane's do from pack to pack: none leaves anything behind."""

import gc
import uuid
from collections.abc import Iterator

import torch
from torch import Tensor

from portal.bases.files import resolve
from portal.device import release_memory
from sweeps.gpu_check.finding import Finding, at_most
from sweeps.gpu_check.world import LABELS, SLIDING, TARGET, CheckWorld
from sweeps.store.output_folder import BaseRecords
from sweeps.worker.base_cache import BaseCache

_TURNS = 3


def check_replacement(world: CheckWorld) -> Iterator[Finding]:
    """Two bases are loaded and stepped on by turns, each in the place of the other."""
    cache, left = BaseCache(), []
    for _ in range(1 + _TURNS):  # after the first turn everything that lasts is there
        for name in (TARGET, SLIDING):
            _step_on(world, cache, name)
        cache.keep((), str(world.device))
        release_memory()
        left.append(tensor_bytes(world.device))
    what = f"tensors that two bases leave behind when they take each other's place {_TURNS} times"
    yield at_most(what, left[-1] - left[0], 0, unit="bytes")


def tensor_bytes(device: torch.device) -> int:
    """Bytes of all tensors on the device; of a CPU's those that this process's Python can reach."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    tensors = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
    storages = [each.untyped_storage() for each in tensors if each.device.type == "cpu"]
    return sum({each.data_ptr(): each.nbytes() for each in storages}.values())


def _step_on(world: CheckWorld, cache: BaseCache, name: str) -> None:
    """Load the base, as a worker does that then drops all others, and take a step of every kind on it."""
    ref = resolve(name)
    cache.keep((ref,), str(world.device))
    records = BaseRecords(world.scratch / "records")
    base = cache.load(ref, str(world.device), records, uuid.uuid4().hex)
    pack = world.pack_on(base, LABELS)
    pack.step()
    pack.sync_metrics()
