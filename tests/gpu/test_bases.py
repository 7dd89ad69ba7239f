"""Bases in bf16, in 8 and 4 bits, over two places, and in each other's place."""

import gc
import uuid
from collections.abc import Mapping
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from portal.bases.base import Base
from portal.bases.files import resolve
from portal.device import release_memory
from sweeps.gpu_check.numbers import RESUME_BOUND, step_gradients
from sweeps.gpu_check.world import LABELS, SLIDING, TARGET, Where, distance, gradient
from sweeps.store.output_folder import BaseRecords
from sweeps.worker.base_cache import BaseCache
from tests.support.devices import DeviceWorld, expect, first_wait, hold

PLAIN_FACTOR = 1.5
"""Our error in bf16 over that of the base's own operations on the same rows."""
DIVISION_BOUND = 1e-5
"""Of a gradient's norm in fp32: each layer computes what it computes in one piece. On GPUs bases are in bf16:
there it is `RESUME_BOUND`, or twice what two equal steps differ by, because sums have no fixed order."""
QUANTISED_COSINE, READ_COSINE = 0.9, 0.99
"""Of gradients on a quantised base with those on its whole weights, which are other ones, if near; of weights
in 4 bits with those that were quantised: 0.996 where they are read right."""
COMPANION_BOUND = 0.01
"""Of a gradient's norm, beside companions or alone: products of other sizes round in another way in bf16."""
_TURNS = 3


@pytest.mark.parametrize("base", [TARGET, SLIDING])
def test_in_bf16_gradients_are_no_further_from_fp32_than_by_the_bases_own_operations(
    world: DeviceWorld, base: str
) -> None:
    if world.own_precision is None:
        pytest.skip("this CPU has no bf16 instructions")
    exact = {label: step_gradients(world, [label], "reference", base)[label] for label in LABELS}
    ours, theirs = (
        sum(distance(found[label], exact[label]) for label in LABELS)
        for found in (step_gradients(world, LABELS, where, base) for where in ("own", "plain"))
    )

    hold(f"{base}: error in bf16 over that of plain operations", ours / theirs, PLAIN_FACTOR)


@pytest.mark.parametrize("base", [TARGET, SLIDING])
def test_a_divided_base_has_the_gradients_of_the_whole_one(world: DeviceWorld, base: str) -> None:
    """On a CPU it is divided over memory and disk."""
    if world.is_gpu and world.workers < 2:
        pytest.skip(world.lone_worker)
    where: Where = "own" if world.is_gpu else "fp32"
    whole = step_gradients(world, LABELS, where, base)
    bound = DIVISION_BOUND
    if world.is_gpu:
        bound = max(RESUME_BOUND, 2 * apart(step_gradients(world, LABELS, where, base), whole))

    divided = step_gradients(world, LABELS, "divided", base)
    hold(f"{base}: divided off whole", apart(divided, whole), bound)


def test_bases_that_take_each_others_place_leave_nothing(world: DeviceWorld) -> None:
    cache, left = BaseCache(), []
    for _ in range(1 + _TURNS):  # after the first turn everything that lasts is there
        for name in (TARGET, SLIDING):
            step_on(world, cache, name)
        cache.keep((), str(world.device))
        release_memory()
        left.append(tensor_bytes(world.device))

    hold("bytes of tensors that two bases leave behind", left[-1] - left[0], 0)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["8bit", "4bit"])
def test_a_quantised_base_has_all_layers_and_gradients_near_those_of_whole_weights(
    world: DeviceWorld, precision: Literal["8bit", "4bit"]
) -> None:
    pytest.importorskip("bitsandbytes")
    whole, base = world.base(TARGET, "fp32"), world.base(TARGET, precision)
    assert len(base.sites) == len(whole.sites)
    assert base.num_decoder_params == whole.num_decoder_params
    if precision == "4bit" and not world.is_gpu and misreads_weights(base, whole):
        pytest.skip("bitsandbytes reads 4-bit weights wrongly on this CPU")
    runs = [world.run(label) for label in ("lora", "hypernet")]
    plain, alone, together = (
        world.pack_on(whole, runs[:1]),
        world.pack_on(base, runs[:1]),
        world.pack_on(base, runs),
    )
    for pack in (plain, alone, together):
        pack.step()
    exact, ours, beside = (gradient(pack.learners[0]) for pack in (plain, alone, together))

    assert cosine_similarity(ours, exact, dim=0) >= QUANTISED_COSINE
    hold(f"{precision}: gradient beside a companion off that alone", distance(beside, ours), COMPANION_BOUND)
    if world.is_gpu:
        wait = first_wait(world.pack_on(base, runs[:1]))
        expect(f"{precision}: steps that waited for the device ({wait})", bool(wait), at_most=0)


def apart(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The most that gradients of any learner differ by."""
    return max(distance(ours[label], theirs[label]) for label in LABELS)


def step_on(world: DeviceWorld, cache: BaseCache, name: str) -> None:
    """Load the base, as a worker does that then drops all others, and take a step of every kind on it."""
    ref = resolve(name)
    cache.keep((ref,), str(world.device))
    records = BaseRecords(world.scratch / "records")
    base = cache.load(ref, str(world.device), records, uuid.uuid4().hex)
    pack = world.pack_on(base, [world.run(label, name) for label in LABELS])
    pack.step()
    pack.sync_metrics()


def tensor_bytes(device: torch.device) -> int:
    """Bytes of all tensors on the device; of a CPU's those that this process's Python can reach."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    tensors = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
    storages = [each.untyped_storage() for each in tensors if each.device.type == "cpu"]
    return sum({each.data_ptr(): each.nbytes() for each in storages}.values())


def misreads_weights(base: Base, whole: Base) -> bool:
    """Whether 4-bit weights are read as others than those that were quantised.

    Vectorised code of some CPUs takes blocks to end with a row.
    """
    from bitsandbytes.functional import dequantize_4bit

    for site in base.sites:
        weight = base.model.get_submodule(site.path).weight
        read = dequantize_4bit(weight.data, weight.quant_state).float().flatten()
        given = whole.model.get_submodule(site.path).weight.flatten()
        if cosine_similarity(read, given, dim=0).item() < READ_COSINE:
            return True
    return False
