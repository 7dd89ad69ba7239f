"""Products of a base's matrices, memory held by a pack, checkpoints, and workers that load side by side."""

import time
import uuid
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.nn.functional import linear

from benchmarks.checkpoints import TARGET, tensors_of, time_checkpoint
from portal.bases.base import load_base
from portal.bases.files import resolve
from portal.config import BaseRef, DeviceKind
from portal.device import product_rate, random_matrix, release_memory, seconds_each, wait_for_device
from portal.storage.atomic import sync
from portal.training.pack import Pack
from sweeps.gpu_check.neighbours import at_once, meet
from sweeps.gpu_check.rates import write_rate
from sweeps.gpu_check.shape import ShapeWorld, random_base
from sweeps.gpu_check.speed import seconds_per_step
from sweeps.gpu_check.world import SOURCE
from sweeps.store.output_folder import BaseRecords
from sweeps.worker.base_cache import BaseCache, verify_once
from sweeps.worker.job import CHECKPOINT_RATIO, CHECKPOINT_S
from sweeps.worker.pack_checkpoint import CheckpointWriter
from tests.support.devices import DEVICE, DeviceWorld, expect

SHAPE = {"cuda": "qwen3-1.7b", "cpu": "mini-qwen3-xs"}[DEVICE]
PRODUCTS_BOUND = 0.6
"""Of the rate of large products: below, matrices are too small for the device, or kernels are missing."""
HELD_BOUND = 1.15
"""Of the memory that torch holds on a GPU over the most that tensors had of it: rows leave gaps in it."""
VERIFYING_BOUND, LOADING_BOUND, WRITING_BOUND = 1.3, 2.0, 1.5
"""Of the longest wait of several workers for a digest, and until they have a base, over that of one; of the
longest time in which one of them writes a file, over that of as many files by one."""
_ROWS, _COUNT, _WIDTH = {"cuda": (2048, 100, 8192), "cpu": (512, 2, 256)}[DEVICE]
_TRIES = 3
"""Times that products and writes are measured: the best of them is least disturbed by what others do."""
_STEPS = {"cuda": 100, "cpu": 1}[DEVICE]


@pytest.fixture
def shape(world: DeviceWorld) -> ShapeWorld:
    return ShapeWorld(random_base(SHAPE, world.device))


def stepped(shape: ShapeWorld, count: int) -> Pack:
    pack = shape.pack(shape.runs(("q", "v"), 1), {})
    seconds_per_step(pack, count)
    return pack


def test_products_of_a_bases_matrices_are_nearly_as_fast_as_large_ones(
    world: DeviceWorld, shape: ShapeWorld
) -> None:
    base = shape.base
    shapes = Counter((site.d_out, site.d_in) for site in base.sites)
    seconds = 0.0
    for (d_out, d_in), count in shapes.items():
        weight_OI = random_matrix(d_out, d_in, base.model.dtype, base.device)
        x_TI = random_matrix(_ROWS, d_in, base.model.dtype, base.device)
        multiply = partial(linear, x_TI, weight_OI)
        seconds += count * min(seconds_each(multiply, _COUNT, base.device) for _ in range(_TRIES))
    flops = 2 * _ROWS * sum(d_out * d_in * count for (d_out, d_in), count in shapes.items())
    large = max(product_rate(_WIDTH, base.model.dtype, base.device) for _ in range(_TRIES))

    assert seconds > 0
    expect(
        f"{SHAPE}: rate of its products over large ones'", flops / seconds / large, at_least=PRODUCTS_BOUND
    )


def test_a_pack_leaves_few_gaps_in_memory_and_stops_for_little_of_the_time_for_checkpoints(
    world: DeviceWorld, shape: ShapeWorld, tmp_path: Path
) -> None:
    """On the disk of pytest's temporary folder (`--basetemp`)."""
    release_memory()
    if world.is_gpu:
        torch.cuda.reset_peak_memory_stats()
    pack, writer = stepped(shape, _STEPS), CheckpointWriter(tmp_path)
    if world.is_gpu:
        held = torch.cuda.max_memory_reserved() / torch.cuda.max_memory_allocated()
        expect(f"memory held over the most in use, after {_STEPS} steps", held, at_most=HELD_BOUND)
    tensors = tensors_of(pack)
    for turn in range(2):  # in the first one page-locked memory is made
        stop_s, write_s = time_checkpoint(writer, turn, tensors)

    assert 0 < stop_s <= write_s
    share = stop_s / max(CHECKPOINT_S, CHECKPOINT_RATIO * write_s)
    expect(f"{SHAPE}: share of the time that training stops for checkpoints", share, at_most=TARGET)


@dataclass(frozen=True)
class Lane:
    """Seconds until a worker knew that a base's files are the right ones, and, anew, until it also had it;
    bytes per second of files that it flushed to the disk.
    """

    verify_s: float
    load_s: float
    write_bytes_per_s: float


@pytest.mark.slow
def test_workers_that_load_a_base_side_by_side_do_not_hold_each_other_up(
    world: DeviceWorld, shape: ShapeWorld, tmp_path: Path
) -> None:
    """From and to the disk of pytest's temporary folder (`--basetemp`)."""
    count, folder = world.workers, tmp_path / "base"
    shape.base.model.save_pretrained(folder)
    shape.base.tokenizer.save_pretrained(folder)
    for path in folder.rglob("*"):
        sync(path)  # or it would be written while other files are timed
    ref = resolve(str(folder))

    (one,) = lanes_at_once(world, ref, 1, tmp_path)
    beside = lanes_at_once(world, ref, count, tmp_path)

    assert min(one.verify_s, one.load_s, one.write_bytes_per_s) > 0
    verified = max(each.verify_s for each in beside) / one.verify_s
    loaded = max(each.load_s for each in beside) / one.load_s
    slowest = min(each.write_bytes_per_s for each in beside)
    who = f"{SHAPE}: {count} workers over one"
    expect(f"{who}, waiting for the digest", verified, at_most=VERIFYING_BOUND)
    expect(f"{who}, loading and verifying", loaded, at_most=LOADING_BOUND)
    expect(
        f"{who} that writes as many files, writing",
        one.write_bytes_per_s / (count * slowest),
        at_most=WRITING_BOUND,
    )


def lanes_at_once(world: DeviceWorld, ref: BaseRef, count: int, out: Path) -> list[Lane]:
    """Of so many new processes, all beginning together, that read from the page cache."""
    work = partial(lane, ref=ref, device=world.device_kind, token=uuid.uuid4().hex, out=out)
    return at_once(count, world.device_kind, work)


def lane(number: int, *, ref: BaseRef, device: DeviceKind, token: str, out: Path) -> Lane:
    """In a process of its own: what a worker does before its first step, and a checkpoint's file."""
    load_base(SOURCE)  # what it imports is no part of what is measured
    meet()
    started = time.perf_counter()
    verify_once(ref, BaseRecords(out / "records"), f"{token} verified")
    verified = time.perf_counter()
    meet()
    began = time.perf_counter()
    BaseCache().load(ref, device, BaseRecords(out / "records"), f"{token} loaded")  # as in another launch
    wait_for_device()
    loaded = time.perf_counter()
    meet()
    return Lane(verified - started, loaded - began, max(write_rate(out) for _ in range(_TRIES)))
