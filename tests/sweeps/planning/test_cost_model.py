"""What a plan predicts: packing saves starts and launches, and never arithmetic.

What a step takes: on a GPU launches or arithmetic, on a CPU both, and reading the weights. What a plan says
of disk space is what finished runs have and checkpoints hold.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from portal.bases.base import load_base
from portal.config import RunConfig
from portal.data.suites import load_suite
from portal.device import ATTAINED
from portal.forward.microbatch import (
    FLOPS_PER_PARAM_TOKEN,
    LAYER_LAUNCHES,
    MAX_FORWARD_TOKENS,
    MODULE_LAUNCHES,
)
from portal.modules import ALL_MODULES
from portal.train_config import TrainConfig
from sweeps.planning import cost_model
from sweeps.planning.cost_model import (
    START_S,
    Execution,
    checkpoint_bytes,
    duration,
    ending_seconds,
    forecast,
    forward_tokens,
    forwards_seconds,
    kept_bytes,
    learners_seconds,
    load_seconds,
    peak_memory,
    saved_bytes,
    scoring_seconds,
    step_seconds,
)
from sweeps.planning.devices import GPUS, MEMORY_SHARE, Device, find_device, plain_cpu
from sweeps.planning.memory import (
    count_params,
    decoder_shape,
    generation_flops,
    kept_values_per_token,
    shared_params,
)
from sweeps.planning.plan import plan_study
from sweeps.planning.plan_table import device_hours
from sweeps.planning.workload import ScoredSet, Work
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from tests.support.bases import make_run
from tests.support.packs import make_pack, run_to_end
from tests.support.precision import cpu_with, run_in_bf16
from tests.support.studies import TINY, Tables, load_text
from tests.support.workload import WORK

BASE, SMALL = "village-qwen3-m", "village-qwen3-xs"
LORA, JOINT = make_run("lora", BASE), make_run("source", BASE, SMALL)
FREE = replace(plain_cpu(1), flops=1e30, bf16_flops=1e30, launch_s=1e-30, bytes_per_s=1e30, value_s=0.0)
"""A CPU on which nothing takes any time."""
SCORES = replace(WORK, steps=0, scored_sets=(ScoredSet(100, 6.0, ((50, 1),)),))  # padded to 52
NOTHING = replace(WORK, steps=0, scored_tokens=0, scored_rows=0, scored_sets=())
WRITES = replace(NOTHING, read_tokens=400, written_tokens=100, writing_forwards=20)


def test_packed_is_never_slower_than_one_by_one_and_takes_the_same_operations_on_every_gpu(
    tiny_study: Study, tmp_path: Path
) -> None:
    flops = set()
    for name in (*GPUS, "cpu"):
        device = find_device(name)
        plan = plan_study(tiny_study, tmp_path, device=device)

        assert len(plan.forecasts) == len(plan.packs)
        for each in plan.forecasts:
            assert 0 < each.hours < each.hours_alone
            assert 0 < each.memory_bytes < device.budget_bytes
        packed, alone = device_hours(plan)
        assert packed < alone
        if device.is_gpu:
            flops.add(sum(each.flops for each in plan.forecasts))
    assert len(flops) == 1


def seconds(run: RunConfig, device: Device) -> float:
    """Of all but the wait for the disk at its end."""
    return 3600 * forecast([run], [WORK], replace(device, write_bytes_per_s=1e30)).hours


def test_every_part_of_a_step_and_of_scoring_is_counted() -> None:
    """One part after another: all others take no time."""
    base, lora = BASE, LORA
    nothing = {"launch_s": 1e-12, "bytes_per_s": 1e30, "value_s": 0.0}
    plain = replace(plain_cpu(2), pace=1.0, **nothing)
    shape, rate = decoder_shape(base), ATTAINED * plain.flops
    hypernet = make_run("hypernet", base)
    trained, answers = 10 * 12 * 32, 10 * 12 * 3  # rows of 30 tokens are padded to 32
    scored, scored_answers = 5000 / 2, 1000 / 2  # forwards only
    num_modules = len(lora.adapter.modules)

    products = shape.params * (trained + scored) + shape.vocabulary * shape.width * (answers + scored_answers)
    assert seconds(lora, plain) == pytest.approx(FLOPS_PER_PARAM_TOKEN * products / rate)
    values = seconds(lora, replace(plain, value_s=1e-6)) - seconds(lora, plain)
    assert values == pytest.approx(1e-6 * kept_values_per_token([lora], base) * (trained + 0.4 * scored))
    launches = seconds(lora, replace(plain, launch_s=1e-6)) - seconds(lora, plain)
    of_forward = shape.layers * (LAYER_LAUNCHES["plain"] + num_modules * MODULE_LAUNCHES)
    assert launches == pytest.approx(1e-6 * of_forward * (10 + 0.4 * 6), rel=1e-4)
    generating = seconds(hypernet, plain) - seconds(lora, plain)
    assert generating == pytest.approx(10 * 3 * generation_flops(hypernet, base) / rate)
    logits = shape.vocabulary * (28 * answers + 12 * 2 * scored_answers) / 1e9  # bytes of each
    weights = 4 * (shape.params + shape.vocabulary * shape.width)  # bytes that every forward reads
    for run, parts in ((lora, 3), (hypernet, 1)):
        slow, fast = (forecast([run], [WORK], replace(plain, bytes_per_s=each)) for each in (1e9, 1e30))
        updates = 10 * 40 * count_params(run, base).trained / 1e9
        reading = weights * (10 * 2 + 6) / 1e9
        assert 3600 * (slow.hours - fast.hours) == pytest.approx(reading + logits + updates)
        reading = weights * (parts * 10 * 2 + 6) / 1e9
        assert 3600 * (slow.hours_alone - fast.hours_alone) == pytest.approx(reading + logits + updates)


def test_steps_and_scoring_take_the_paces_that_were_measured_of_them_in_a_bases_precision() -> None:
    cpu = replace(plain_cpu(2), bf16_flops=1e12, pace=1.0)
    paced = replace(cpu, pace=2.0, bf16_pace=3.0, scoring_pace=5.0, bf16_scoring_pace=7.0)

    for run, steps_pace, scoring_pace in ((LORA, 2.0, 5.0), (run_in_bf16(LORA), 3.0, 7.0)):
        scoring = scoring_seconds([run], [WORK], BASE, cpu)
        assert 0 < scoring < seconds(run, cpu)
        expected = steps_pace * (seconds(run, cpu) - scoring) + scoring_pace * scoring
        assert seconds(run, paced) == pytest.approx(expected)
        unmeasured = replace(paced, scoring_pace=None, bf16_scoring_pace=None)
        assert seconds(run, unmeasured) == pytest.approx(steps_pace * seconds(run, cpu))
        assert seconds(run, replace(cpu, pace=1.5)) == pytest.approx(1.5 * seconds(run, cpu))


def test_the_pace_holds_for_lanes_of_teams_and_for_runs_alone() -> None:
    device = replace(plain_cpu(2), pace=1.0, write_bytes_per_s=1e30)
    slower = replace(device, pace=3.0, scoring_pace=3.0)

    for run, how in ((JOINT, Execution(workers_per_pack="bases")), (LORA, Execution())):
        once, thrice = (forecast([run], [WORK], each, how) for each in (device, slower))
        starts = sum(START_S + load_seconds(run, device) for _ in run.bases) / 3600
        assert thrice.hours == pytest.approx(3 * once.hours)
        assert thrice.hours_in_lane == pytest.approx(3 * once.hours_in_lane)
        assert thrice.hours_alone - starts == pytest.approx(3 * (once.hours_alone - starts))
    assert WORK.tasks > 1  # a LoRA of each


def test_workers_of_a_lane_divide_all_but_what_each_of_them_generates() -> None:
    device = replace(find_device("b200"), bytes_per_s=1e30, write_bytes_per_s=1e30)

    by_one, by_base, by_two, by_three = (
        forecast([JOINT], [WORK], device, Execution(workers_per_pack=workers))
        for workers in (1, "bases", 2, 3)
    )

    each = [forecast([make_run("source", base)], [WORK], device).hours for base in (BASE, SMALL)]
    flops = [3 * WORK.steps * generation_flops(JOINT, base) for base in (BASE, SMALL)]
    generating = [each / (ATTAINED * device.hypernet_rate("tf32")) / 3600 for each in flops]
    assert by_one.hours_in_lane == by_one.hours == pytest.approx(sum(each))
    assert by_base.hours == by_three.hours == by_one.hours
    own = [whole - part for whole, part in zip(each, generating, strict=True)]
    assert by_base.hours_in_lane == by_two.hours_in_lane == pytest.approx(max(own) + sum(generating))
    assert by_three.hours_in_lane == pytest.approx(max(own[0] / 2, own[1]) + sum(generating))
    alone = forecast([LORA], [WORK], device, Execution(workers_per_pack=2))
    assert alone.hours_in_lane == pytest.approx(alone.hours / 2)


def test_a_run_waits_at_its_end_for_its_last_checkpoint_and_its_artifacts() -> None:
    slow, fast = (replace(plain_cpu(1), write_bytes_per_s=rate) for rate in (1e6, 1e30))
    trained = [count_params(JOINT, base).trained for base in (BASE, SMALL)]
    copies = 3 + (JOINT.train.keep == "best_validation")
    written_s = (4 * copies * (sum(trained) - shared_params(JOINT)) + 4 * sum(trained)) / 1e6

    late, soon = (forecast([JOINT], [WORK], device) for device in (slow, fast))

    for ours, without in (
        (late.hours, soon.hours),
        (late.hours_alone, soon.hours_alone),
        (late.hours_in_lane, soon.hours_in_lane),
    ):
        assert 3600 * (ours - without) == pytest.approx(written_s)
    assert shared_params(JOINT) > 0
    assert ending_seconds(make_run("base", BASE), slow) == 0


@pytest.mark.parametrize("keep", ["last", "best_validation"])
@pytest.mark.parametrize("method", ["lora", "hypernet", "source"])
def test_a_checkpoint_has_the_bytes_that_are_counted(method: str, keep: str) -> None:
    names = ("mini-qwen3-xs", "mini-gemma3") if method == "source" else ("mini-qwen3-xs",)
    bases = {name: load_base(name) for name in names}
    run = make_run(method, *names, train=TrainConfig(epochs=2, lr=1e-2, keep=keep))
    pack = make_pack(bases, [run], None)
    run_to_end(pack)

    tensors, _ = pack.learners[0].state()

    assert sum(tensor.nbytes for tensor in tensors.values()) == pytest.approx(saved_bytes(run), rel=0.02)


@pytest.mark.parametrize("name", ["h100", "cpu"])
@pytest.mark.parametrize("shorter", [1, 7])
def test_a_pack_is_never_faster_than_its_longest_run(name: str, shorter: int) -> None:
    device = find_device(name)
    runs = [make_run("lora", BASE, seed=seed) for seed in range(1 + shorter)]
    works = [replace(WORK, steps=1000), *[WORK] * shorter]

    pack, alone = forecast(runs, works, device), forecast(runs[:1], works[:1], device)

    assert alone.hours < pack.hours < alone.hours + shorter * forecast(runs[1:2], [WORK], device).hours * 1.01


def test_a_gpu_with_plain_operations_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = seconds(LORA, GPUS["b200"])
    monkeypatch.setenv("PORTAL_OPERATIONS", "plain")

    assert 1.4 * fused < seconds(LORA, GPUS["b200"]) < 4 * fused


def test_a_study_in_bf16_is_predicted_to_take_less_memory_and_the_time_of_its_products(
    tmp_path: Path,
) -> None:
    cpu = plain_cpu(2)
    whole, rounded = (load_text(tmp_path, f"{TINY}precision: {each}\n") for each in ("default", "bf16"))
    with cpu_with("avx512_bf16"):
        slow, fast = (
            plan_study(rounded, tmp_path, device=replace(cpu, bf16_flops=gain * cpu.flops))
            for gain in (0.5, 8.0)
        )
    plain = plan_study(whole, tmp_path, device=cpu)

    slow_hours, fast_hours = (sum(each.hours for each in plan.forecasts) for plan in (slow, fast))
    assert 1.1 * fast_hours < slow_hours
    assert slow.largest_run_bytes < plain.largest_run_bytes
    assert [each.flops for each in slow.forecasts] == [each.flops for each in plain.forecasts]


def test_packs_are_as_large_as_the_memory_allows_and_a_run_that_does_not_fit_gets_smaller_forwards(
    tiny_study: Study, tmp_path: Path
) -> None:
    cpu = find_device("cpu")
    largest = plan_study(tiny_study, tmp_path, device=cpu).largest_run_bytes
    ample, scarce, short = (
        plan_study(tiny_study, tmp_path, device=replace(cpu, memory_bytes=runs * largest / MEMORY_SHARE))
        for runs in (100, 1.01, 0.9)
    )

    assert max(len(pack.runs) for pack in ample.packs) == 4
    assert len(scarce.packs) > len(ample.packs)
    for plan in (ample, scarce):
        assert sorted(run.key for run in plan.missing) == sorted(tiny_study.by_key)
        for each in plan.forecasts:
            assert each.memory_bytes <= plan.device.budget_bytes
    limits = [tokens for pack in short.packs for tokens in short.forward_tokens(pack).values()]
    assert all(len(pack.runs) == 1 for pack in short.packs if pack.runs[0].method == "lora")
    assert 1 <= min(limits) < max(limits) <= MAX_FORWARD_TOKENS


def test_small_forwards_for_want_of_memory_take_longer() -> None:
    gpu, works = GPUS["a100"], [replace(WORK, rows_per_step=4096)]
    least = peak_memory([LORA], works, gpu, max_tokens={BASE: 1}) / MEMORY_SHARE
    scarce = replace(gpu, memory_bytes=1.2 * least)

    assert forward_tokens([LORA], works, scarce)[BASE] < MAX_FORWARD_TOKENS / 8
    ample, parted = (forecast([LORA], works, each) for each in (gpu, scarce))
    assert ample.hours < parted.hours
    assert ample.hours_alone < parted.hours_alone


def test_a_share_of_a_cpu_takes_as_many_times_as_long() -> None:
    cpu = replace(find_device("cpu"), bf16_flops=1e12, write_bytes_per_s=1e30)
    for run in (LORA, run_in_bf16(LORA)):
        whole, part = (forecast([run], [WORK], each) for each in (cpu, cpu.shared_by(4)))

        assert part.hours == pytest.approx(4 * whole.hours)


def test_a_duration_is_short_to_read() -> None:
    assert [duration(hours) for hours in (0.001, 0.5, 0.999, 7.25)] == [
        "4 s",
        "30.0 min",
        "59.9 min",
        "7.2 h",
    ]


def test_what_joint_training_shares_is_updated_once() -> None:
    slow, fast = (replace(plain_cpu(2), bytes_per_s=each) for each in (1e6, 1e30))

    updates = sum(
        learners_seconds([JOINT], [WORK], base, slow) - learners_seconds([JOINT], [WORK], base, fast)
        for base in (BASE, SMALL)
    )

    own = [count_params(JOINT, base).trained - shared_params(JOINT) for base in (BASE, SMALL)]
    assert min(own) > 0
    assert updates == pytest.approx(WORK.steps * 40 * (sum(own) + shared_params(JOINT)) / 1e6)


def test_a_cpu_reads_the_weights_for_every_forward_and_half_in_bf16_with_two_products_for_logits() -> None:
    shape, cpu = decoder_shape(BASE), replace(FREE, bytes_per_s=1e6)
    head = shape.vocabulary * shape.width

    few, many = (forwards_seconds([LORA], [replace(WORK, rows_per_step=rows)], BASE, cpu) for rows in (3, 12))
    halved = forwards_seconds([run_in_bf16(LORA)], [WORK], BASE, cpu)
    rounded, whole = (
        step_seconds([each], [WORK], BASE, replace(FREE, flops=1e9, bf16_flops=1e9))
        for each in (run_in_bf16(LORA), LORA)
    )

    assert few == many == pytest.approx(2 * 4 * (shape.params + head) / 1e6)
    assert halved == pytest.approx(2 * (2 * shape.params + 3 * head) / 1e6)
    answers = WORK.rows_per_step * WORK.answer_tokens
    assert rounded - whole == pytest.approx(2 * answers * head / (ATTAINED * 1e9))


def test_what_is_done_beside_products_grows_with_what_a_forward_keeps() -> None:
    adapter = LORA.adapter.model_copy(update={"modules": ALL_MODULES})
    few, every = LORA, LORA.model_copy(update={"adapter": adapter})
    kept = [kept_values_per_token([run], BASE) for run in (few, every)]
    cpu = replace(FREE, value_s=1e-6)

    took = [forwards_seconds([run], [WORK], BASE, cpu) for run in (few, every)]

    assert 1.2 < kept[1] / kept[0] < 2
    assert took == pytest.approx([1e-6 * each * 12 * 32 for each in kept])  # rows are padded to 32


def test_scoring_and_writing_on_a_cpu_are_forwards_that_read_the_weights_and_keep_less() -> None:
    run, shape = run_in_bf16(LORA), decoder_shape(BASE)
    weights = 2 * (shape.params + 2 * shape.vocabulary * shape.width)  # bytes; logits are of two products
    logits = 46 * shape.vocabulary  # bytes of an answer's token
    kept, launch = kept_values_per_token([run], BASE), 142 + 7 * len(run.adapter.modules)

    def took(work: Work, **rates: float) -> float:
        return scoring_seconds([run], [work], BASE, replace(FREE, **rates))

    assert took(SCORES, bytes_per_s=1e6) == pytest.approx((6 * weights + 1000 * logits) / 1e6)
    assert took(WRITES, bytes_per_s=1e6) == pytest.approx((20 * weights + 100 * logits) / 1e6)
    assert took(SCORES, value_s=1e-6) == pytest.approx(1e-6 * 0.4 * kept * 5000 / 2 * 52 / 50)
    assert took(WRITES, value_s=1e-6) == pytest.approx(1e-6 * 0.4 * kept * 500 / 2)
    assert took(WRITES, launch_s=1e-6) == pytest.approx(1e-6 * 0.4 * 20 * shape.layers * launch)


def test_logits_that_are_scored_in_slices_stay_in_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, cpu = decoder_shape(BASE), replace(FREE, bytes_per_s=1e6)

    def took(in_bf16: bool) -> list[float]:
        run = run_in_bf16(LORA) if in_bf16 else LORA
        return [scoring_seconds([run], [work], BASE, cpu) for work in (SCORES, WRITES)]

    whole = [took(in_bf16) for in_bf16 in (False, True)]
    monkeypatch.setattr(cost_model, "SLICE_COLUMNS", shape.vocabulary - 1)
    sliced = [took(in_bf16) for in_bf16 in (False, True)]

    saved = [before[0] - after[0] for before, after in zip(whole, sliced, strict=True)]
    assert saved == pytest.approx([1000 * shape.vocabulary * each / 1e6 for each in (12 - 4, 46 - 15)])
    assert [each[1] for each in sliced] == [each[1] for each in whole]  # what is written wants all logits


def test_an_artifact_holds_as_many_numbers_as_counted(
    tiny_study: Study, unbroken: tuple[Path, Tables], tmp_path: Path
) -> None:
    plan = plan_study(tiny_study, tmp_path)
    store = RunStore(unbroken[0])
    for run in tiny_study.runs:
        files = [*(store.run_folder(run.key) / "artifact").rglob("*.safetensors")]
        stored = sum(tensor.numel() for path in files for tensor in load_file(path).values())
        counts = [count_params(run, ref.name) for ref in run.bases]

        assert stored == sum(each.trained + each.held for each in counts)
        size = sum(path.stat().st_size for path in store.run_folder(run.key).rglob("*") if path.is_file())
        assert 4 * stored <= kept_bytes(run, plan.checked.works[run.key]) <= size


def test_a_checkpoint_holds_three_numbers_for_each_that_trains(tiny_study: Study) -> None:
    for run in tiny_study.runs:
        trained = sum(count_params(run, ref.name).trained for ref in run.bases)

        assert checkpoint_bytes([run]) == 3 * 3 * 4 * trained
        assert (trained > 0) == (run.train is not None)
    assert checkpoint_bytes(tiny_study.runs) == sum(checkpoint_bytes([run]) for run in tiny_study.runs)


def test_scored_rows_are_counted_by_evaluation(tiny_study: Study, tmp_path: Path) -> None:
    works = plan_study(tiny_study, tmp_path).checked.works
    splits = [(task, split) for task in tiny_study.tasks for split in ("validation", "test")]
    rows = sum(min(4, len(load_suite("mini").examples(*place))) for place in splits)

    scored = {run.method: works[run.key].scored_rows for run in tiny_study.runs if run.method != "lora"}

    assert scored == {"base": rows, "source": 3 * rows, "portal": 3 * rows}
