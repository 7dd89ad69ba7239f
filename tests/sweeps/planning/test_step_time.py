"""What a step takes: on a GPU launches or arithmetic, on a CPU both, and reading the weights."""

from dataclasses import replace

import pytest

from portal.device_rates import ATTAINED
from portal.forward.microbatch_plan import FLOPS_PER_PARAM_TOKEN, LAYER_LAUNCHES, MODULE_LAUNCHES
from portal.modules import ALL_MODULES
from sweeps.planning import step_time
from sweeps.planning.devices import GPUS, Device, plain_cpu
from sweeps.planning.memory import count_params, decoder_shape, kept_values_per_token, shared_params
from sweeps.planning.scored_set import ScoredSet
from sweeps.planning.step_time import forwards_seconds, learners_seconds, scoring_seconds, step_seconds
from sweeps.planning.workload import Work
from tests.support.bases import make_run
from tests.support.precision import run_in_bf16
from tests.support.workload import WORK

BASE = "village-qwen3-m"
NOTHING = replace(WORK, steps=0, scored_tokens=0, scored_rows=0, scored_sets=())
FREE = replace(plain_cpu(1), flops=1e30, bf16_flops=1e30, launch_s=1e-30, bytes_per_s=1e30, value_s=0.0)
"""A CPU on which nothing takes any time."""


def test_a_gpus_step_takes_as_long_as_its_launches_or_its_padded_tokens():
    """A base so small that launches take longer, and one so large that they do not."""
    gpu, run = GPUS["b200"], make_run("lora", "village-qwen3-m")
    shape = decoder_shape("village-qwen3-m")
    per_forward = shape.layers * (LAYER_LAUNCHES["fused"] + 2 * MODULE_LAUNCHES) * gpu.launch_s
    own = [replace(WORK, lengths=((20, 40),) * 3)]

    found = forwards_seconds([run], own, "village-qwen3-m", gpu)
    unbounded = forwards_seconds([run], own, "village-qwen3-m", replace(gpu, name="faster", launch_s=1e-15))

    assert found == pytest.approx(per_forward)  # one forward has all rows
    per_token = FLOPS_PER_PARAM_TOKEN * shape.params / (ATTAINED * gpu.flops)
    assert unbounded / per_token / 12 == pytest.approx(30)  # tokens of a row: there is no padding


def test_what_joint_training_shares_is_updated_once():
    bases = (BASE, "village-qwen3-xs")
    joint = make_run("source", *bases)
    slow, fast = (replace(plain_cpu(2), bytes_per_s=each) for each in (1e6, 1e30))

    updates = sum(
        learners_seconds([joint], [WORK], base, slow) - learners_seconds([joint], [WORK], base, fast)
        for base in bases
    )

    own = [count_params(joint, base).trained - shared_params(joint) for base in bases]
    assert min(own) > 0
    assert updates == pytest.approx(WORK.steps * 40 * (sum(own) + shared_params(joint)) / 1e6)


def test_a_cpu_reads_the_weights_for_every_forward_however_few_its_rows():
    run, shape = make_run("lora", BASE), decoder_shape(BASE)
    cpu = replace(FREE, bytes_per_s=1e6)

    few, many = (forwards_seconds([run], [replace(WORK, rows_per_step=rows)], BASE, cpu) for rows in (3, 12))

    assert few == many == pytest.approx(2 * 4 * (shape.params + shape.vocabulary * shape.width) / 1e6)


def test_in_bf16_a_cpu_reads_half_and_makes_the_logits_of_two_products():
    run, shape = make_run("lora", BASE), decoder_shape(BASE)
    cpu = replace(FREE, bytes_per_s=1e6)
    head = shape.vocabulary * shape.width

    reading = forwards_seconds([run_in_bf16(run)], [WORK], BASE, cpu)
    computing = [
        step_seconds([each], [WORK], BASE, replace(cpu, bytes_per_s=1e30, flops=1e9, bf16_flops=1e9))
        for each in (run_in_bf16(run), run)
    ]

    assert reading == pytest.approx(2 * (2 * shape.params + 3 * head) / 1e6)
    answers = WORK.rows_per_step * WORK.answer_tokens
    assert computing[0] - computing[1] == pytest.approx(2 * answers * head / (ATTAINED * 1e9))


def test_what_is_done_beside_products_grows_with_what_a_forward_keeps():
    few, every = (make_run("lora", BASE), make_run("lora", BASE))
    every = every.model_copy(update={"adapter": every.adapter.model_copy(update={"modules": ALL_MODULES})})
    kept = [kept_values_per_token([run], BASE) for run in (few, every)]
    cpu = replace(FREE, value_s=1e-6)

    took = [forwards_seconds([run], [WORK], BASE, cpu) for run in (few, every)]

    assert 1.2 < kept[1] / kept[0] < 2
    assert took == pytest.approx([1e-6 * each * 12 * 32 for each in kept])  # rows are padded to 32


def test_scoring_and_writing_on_a_cpu_are_forwards_that_read_the_weights_and_keep_less():
    run, shape = run_in_bf16(make_run("lora", BASE)), decoder_shape(BASE)
    scores = replace(WORK, steps=0, scored_sets=(ScoredSet(100, 6.0, ((50, 1),)),))  # padded to 52
    writes = replace(NOTHING, read_tokens=400, written_tokens=100, writing_forwards=20)
    weights = 2 * (shape.params + 2 * shape.vocabulary * shape.width)  # bytes; logits are of two products
    logits = 46 * shape.vocabulary  # bytes of an answer's token
    kept, launch = kept_values_per_token([run], BASE), 142 + 7 * len(run.adapter.modules)

    def took(work: Work, **rates: float) -> float:
        return scoring_seconds([run], [work], BASE, replace(FREE, **rates))

    assert took(scores, bytes_per_s=1e6) == pytest.approx((6 * weights + 1000 * logits) / 1e6)
    assert took(writes, bytes_per_s=1e6) == pytest.approx((20 * weights + 100 * logits) / 1e6)
    assert took(scores, value_s=1e-6) == pytest.approx(1e-6 * 0.4 * kept * 5000 / 2 * 52 / 50)
    assert took(writes, value_s=1e-6) == pytest.approx(1e-6 * 0.4 * kept * 500 / 2)
    assert took(writes, launch_s=1e-6) == pytest.approx(1e-6 * 0.4 * 20 * shape.layers * launch)


def test_logits_that_are_scored_in_slices_stay_in_caches(monkeypatch):
    run, shape = make_run("lora", BASE), decoder_shape(BASE)
    cpu = replace(FREE, bytes_per_s=1e6)
    scores = replace(WORK, steps=0, scored_sets=(ScoredSet(100, 6.0, ((50, 1),)),))
    writes = replace(NOTHING, read_tokens=400, written_tokens=100, writing_forwards=20)

    def took(in_bf16: bool) -> list[float]:
        own = run_in_bf16(run) if in_bf16 else run
        return [scoring_seconds([own], [work], BASE, cpu) for work in (scores, writes)]

    whole = [took(in_bf16) for in_bf16 in (False, True)]
    monkeypatch.setattr(step_time, "SLICE_COLUMNS", shape.vocabulary - 1)
    sliced = [took(in_bf16) for in_bf16 in (False, True)]

    saved = [before[0] - after[0] for before, after in zip(whole, sliced, strict=True)]
    assert saved == pytest.approx([1000 * shape.vocabulary * each / 1e6 for each in (12 - 4, 46 - 15)])
    assert [each[1] for each in sliced] == [each[1] for each in whole]  # what is written wants all logits


def test_a_gpu_scores_while_it_launches():
    run, gpu = make_run("lora", BASE), replace(GPUS["b200"], launch_s=1e-3)
    scores = replace(WORK, steps=0, scored_sets=(ScoredSet(100, 6.0, ((50, 1),)),))  # padded to 52
    writes = replace(NOTHING, read_tokens=400, written_tokens=100, writing_forwards=20)
    shape, launch = decoder_shape(BASE), 44 + 7 * len(run.adapter.modules)
    head, rate = shape.vocabulary * shape.width, ATTAINED * gpu.flops

    def took(work: Work, device: Device) -> float:
        return scoring_seconds([run], [work], BASE, device)

    assert took(scores, gpu) == pytest.approx(1e-3 * 0.4 * 6 * shape.layers * launch)
    assert took(writes, gpu) == pytest.approx(1e-3 * 0.4 * 20 * shape.layers * launch)
    quick = replace(gpu, launch_s=1e-30)
    assert took(scores, quick) == pytest.approx(2 * (shape.params * 5000 * 52 / 50 + head * 1000) / rate)
    assert took(writes, quick) == pytest.approx(2 * (shape.params * 500 + head * 100) / rate)
