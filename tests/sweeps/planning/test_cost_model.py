"""What a plan predicts: packing saves starts and launches, and never arithmetic.

What a step takes: on a GPU launches or arithmetic, on a CPU both, and reading the weights. What a plan says
of disk space is what finished runs have and checkpoints hold.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from portal.bases.base import load_base
from portal.cli import main
from portal.config import RunConfig
from portal.data.suites import load_suite
from portal.device import ATTAINED
from portal.forward.microbatch import (
    FLOPS_PER_PARAM_TOKEN,
    LAYER_LAUNCHES,
    MAX_FORWARD_TOKENS,
    MODULE_LAUNCHES,
)
from portal.learners.base import build_learner
from portal.modules import ALL_MODULES
from portal.train_config import TrainConfig
from portal.training.pack import Pack
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
from sweeps.study.expand import Study, load_study
from tests.support.bases import make_rows, make_run
from tests.support.precision import needs_bf16, run_in_bf16
from tests.support.studies import Tables
from tests.support.workload import WORK


@pytest.mark.parametrize("name", ["b200", "h200", "h100", "a100", "cpu"])
def test_packed_is_never_slower_than_one_by_one(name, study_path, tmp_path):
    plan = plan_study(load_study(study_path), tmp_path, device=find_device(name))

    assert len(plan.forecasts) == len(plan.packs)
    for each in plan.forecasts:
        assert 0 < each.hours < each.hours_alone
        assert 0 < each.memory_bytes < find_device(name).budget_bytes
    packed, alone = device_hours(plan)
    assert packed < alone


def test_operations_do_not_depend_on_the_device(study_path, tmp_path):
    study = load_study(study_path)
    plans = [plan_study(study, tmp_path, device=gpu) for gpu in GPUS.values()]

    sums = {sum(each.flops for each in plan.forecasts) for plan in plans}

    assert len(sums) == 1


def seconds(run: RunConfig, device: Device) -> float:
    """Of all but the wait for the disk at its end."""
    return 3600 * forecast([run], [WORK], replace(device, write_bytes_per_s=1e30)).hours


def test_every_part_of_a_step_and_of_scoring_is_counted():
    """One part after another: all others take no time."""
    base = "village-qwen3-m"
    nothing = {"launch_s": 1e-12, "bytes_per_s": 1e30, "value_s": 0.0}
    plain = replace(plain_cpu(2), pace=1.0, **nothing)
    shape, rate = decoder_shape(base), ATTAINED * plain.flops
    lora, hypernet = make_run("lora", base), make_run("hypernet", base)
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


def test_a_base_takes_the_pace_that_was_measured_in_its_precision():
    cpu = replace(plain_cpu(2), bf16_flops=1e12, pace=1.0)
    whole = make_run("lora", "village-qwen3-m")

    for run, pace in ((whole, 1.5), (run_in_bf16(whole), 3.0)):
        paced = replace(cpu, pace=1.5, bf16_pace=3.0)
        assert seconds(run, paced) == pytest.approx(pace * seconds(run, cpu))
        assert seconds(run, replace(cpu, pace=1.5)) == pytest.approx(1.5 * seconds(run, cpu))


def test_scoring_takes_the_pace_that_was_measured_of_it() -> None:
    cpu = replace(plain_cpu(2), bf16_flops=1e12, pace=1.0)
    whole = make_run("lora", "village-qwen3-m")
    paced = replace(cpu, pace=2.0, bf16_pace=3.0, scoring_pace=5.0, bf16_scoring_pace=7.0)

    for run, steps_pace, scoring_pace in ((whole, 2.0, 5.0), (run_in_bf16(whole), 3.0, 7.0)):
        scoring = scoring_seconds([run], [WORK], "village-qwen3-m", cpu)
        assert 0 < scoring < seconds(run, cpu)
        expected = steps_pace * (seconds(run, cpu) - scoring) + scoring_pace * scoring
        assert seconds(run, paced) == pytest.approx(expected)
        unmeasured = replace(paced, scoring_pace=None, bf16_scoring_pace=None)
        assert seconds(run, unmeasured) == pytest.approx(steps_pace * seconds(run, cpu))


def test_the_pace_holds_for_lanes_of_teams_and_for_runs_alone() -> None:
    bases = ("village-qwen3-m", "village-qwen3-xs")
    joint, lora = make_run("source", *bases), make_run("lora", bases[0])
    device = replace(plain_cpu(2), pace=1.0, write_bytes_per_s=1e30)
    slower = replace(device, pace=3.0, scoring_pace=3.0)

    for run, how in ((joint, Execution(workers_per_pack="bases")), (lora, Execution())):
        once, thrice = (forecast([run], [WORK], each, how) for each in (device, slower))
        starts = sum(START_S + load_seconds(run, device) for _ in run.bases) / 3600
        assert thrice.hours == pytest.approx(3 * once.hours)
        assert thrice.hours_in_lane == pytest.approx(3 * once.hours_in_lane)
        assert thrice.hours_alone - starts == pytest.approx(3 * (once.hours_alone - starts))
    assert WORK.tasks > 1  # a LoRA of each


def test_workers_of_a_lane_divide_all_but_what_each_of_them_generates():
    bases = ("village-qwen3-m", "village-qwen3-xs")
    joint = make_run("source", *bases)
    device = replace(find_device("b200"), bytes_per_s=1e30, write_bytes_per_s=1e30)
    works = [WORK]

    by_one = forecast([joint], works, device)
    by_base = forecast([joint], works, device, Execution(workers_per_pack="bases"))
    by_two = forecast([joint], works, device, Execution(workers_per_pack=2))
    by_three = forecast([joint], works, device, Execution(workers_per_pack=3))

    each = [forecast([make_run("source", base)], works, device).hours for base in bases]
    flops = [3 * WORK.steps * generation_flops(joint, base) for base in bases]
    generating = [each / (ATTAINED * device.hypernet_rate("tf32")) / 3600 for each in flops]
    assert by_one.hours_in_lane == by_one.hours == pytest.approx(sum(each))
    assert by_base.hours == by_three.hours == by_one.hours
    own = [whole - part for whole, part in zip(each, generating, strict=True)]
    assert by_base.hours_in_lane == by_two.hours_in_lane == pytest.approx(max(own) + sum(generating))
    assert by_three.hours_in_lane == pytest.approx(max(own[0] / 2, own[1]) + sum(generating))
    alone = forecast([make_run("lora", bases[0])], works, device, Execution(workers_per_pack=2))
    assert alone.hours_in_lane == pytest.approx(alone.hours / 2)


def test_a_run_waits_at_its_end_for_its_last_checkpoint_and_its_artifacts():
    bases = ("village-qwen3-m", "village-qwen3-xs")
    joint, frozen = make_run("source", *bases), make_run("base", bases[0])
    slow, fast = (replace(plain_cpu(1), write_bytes_per_s=rate) for rate in (1e6, 1e30))
    trained = [count_params(joint, base).trained for base in bases]
    copies = 3 + (joint.train.keep == "best_validation")
    written_s = (4 * copies * (sum(trained) - shared_params(joint)) + 4 * sum(trained)) / 1e6

    late, soon = (forecast([joint], [WORK], device) for device in (slow, fast))

    for ours, without in (
        (late.hours, soon.hours),
        (late.hours_alone, soon.hours_alone),
        (late.hours_in_lane, soon.hours_in_lane),
    ):
        assert 3600 * (ours - without) == pytest.approx(written_s)
    assert shared_params(joint) > 0
    assert ending_seconds(frozen, slow) == 0


@pytest.mark.parametrize("keep", ["last", "best_validation"])
@pytest.mark.parametrize("method", ["lora", "hypernet", "source"])
def test_a_checkpoint_has_the_bytes_that_are_counted(method: str, keep: str) -> None:
    names = ("mini-qwen3-xs", "mini-gemma3") if method == "source" else ("mini-qwen3-xs",)
    bases = {name: load_base(name) for name in names}
    run = make_run(method, *names, train=TrainConfig(epochs=2, lr=1e-2, keep=keep))
    rows = {name: make_rows(base) for name, base in bases.items()}
    learner = build_learner(run, bases, rows)
    pack = Pack(bases, rows, [learner])
    while not learner.done:
        for each, epoch in pack.due():
            pack.evaluate(each, epoch)
        pack.step()
    for each, epoch in pack.due():
        pack.evaluate(each, epoch)

    tensors, _ = learner.state()

    assert sum(tensor.nbytes for tensor in tensors.values()) == pytest.approx(saved_bytes(run), rel=0.02)


def test_factors_are_generated_in_fp32_or_tf32_which_are_slower_on_a_gpu():
    gpu, cpu = GPUS["h100"], find_device("cpu")

    assert gpu.hypernet_rate("fp32") == pytest.approx(67e12, rel=0.02)  # its data sheet, without tensor cores
    assert gpu.hypernet_rate("tf32") == pytest.approx(495e12, rel=0.02)
    assert cpu.hypernet_rate("fp32") == cpu.hypernet_rate("tf32") == cpu.flops


@pytest.mark.parametrize("name", ["h100", "cpu"])
@pytest.mark.parametrize("shorter", [1, 7])
def test_a_pack_is_never_faster_than_its_longest_run(name, shorter):
    device, base = find_device(name), "village-qwen3-m"
    runs = [make_run("lora", base, seed=seed) for seed in range(1 + shorter)]
    works = [replace(WORK, steps=1000), *[WORK] * shorter]

    pack, alone = forecast(runs, works, device), forecast(runs[:1], works[:1], device)

    assert alone.hours < pack.hours < alone.hours + shorter * forecast(runs[1:2], [WORK], device).hours * 1.01


def test_a_gpu_with_plain_operations_takes_longer(monkeypatch):
    gpu, run = GPUS["b200"], make_run("lora", "village-qwen3-m")

    fused = seconds(run, gpu)
    monkeypatch.setenv("PORTAL_OPERATIONS", "plain")

    assert 1.4 * fused < seconds(run, gpu) < 4 * fused


@needs_bf16
def test_a_study_in_bf16_is_predicted_to_take_less_memory_and_the_time_of_its_products(study_path, tmp_path):
    text = study_path.read_text()
    plans = []
    for precision in ("default", "bf16"):
        study_path.write_text(f"{text}precision: {precision}\n")
        plans.append(plan_study(load_study(study_path), tmp_path, device=find_device("cpu")))

    whole, rounded = plans
    cpu = plain_cpu(2)
    slow, fast = (
        plan_study(load_study(study_path), tmp_path, device=replace(cpu, bf16_flops=gain * cpu.flops))
        for gain in (0.5, 8.0)
    )
    slow_hours, fast_hours = (sum(each.hours for each in plan.forecasts) for plan in (slow, fast))
    assert 1.1 * fast_hours < slow_hours
    assert rounded.largest_run_bytes < whole.largest_run_bytes
    assert [each.flops for each in rounded.forecasts] == [each.flops for each in whole.forecasts]


def with_memory(study, out, run_bytes_times):
    """The plan for a CPU whose budget is so many times what the largest run takes."""
    largest = plan_study(study, out, device=find_device("cpu")).largest_run_bytes
    device = replace(find_device("cpu"), memory_bytes=run_bytes_times * largest / MEMORY_SHARE)
    return plan_study(study, out, device=device)


def test_packs_are_as_large_as_the_memory_allows(study_path, tmp_path):
    study = load_study(study_path)
    ample, scarce = with_memory(study, tmp_path, 100), with_memory(study, tmp_path, 1.01)

    assert max(len(pack.runs) for pack in ample.packs) == 4
    assert len(scarce.packs) > len(ample.packs)
    for plan in (ample, scarce):
        assert sorted(run.key for run in plan.missing) == sorted(study.by_key)
        for each in plan.forecasts:
            assert each.memory_bytes <= plan.device.budget_bytes


def test_a_run_that_does_not_fit_whole_gets_smaller_forwards(study_path, tmp_path):
    study = load_study(study_path)
    plan = with_memory(study, tmp_path, 0.9)

    limits = [tokens for pack in plan.packs for tokens in plan.forward_tokens(pack).values()]

    assert all(len(pack.runs) == 1 for pack in plan.packs if pack.runs[0].method == "lora")
    assert 1 <= min(limits) < max(limits) <= MAX_FORWARD_TOKENS


def test_small_forwards_for_want_of_memory_take_longer():
    gpu, run = GPUS["a100"], make_run("lora", "village-qwen3-m")
    works = [replace(WORK, rows_per_step=4096)]
    least = peak_memory([run], works, gpu, max_tokens={"village-qwen3-m": 1}) / MEMORY_SHARE
    scarce = replace(gpu, memory_bytes=1.2 * least)

    assert forward_tokens([run], works, scarce)["village-qwen3-m"] < MAX_FORWARD_TOKENS / 8
    ample, parted = (forecast([run], works, each) for each in (gpu, scarce))
    assert ample.hours < parted.hours
    assert ample.hours_alone < parted.hours_alone


def test_lanes_share_a_cpu_and_not_a_gpu():
    cpu, gpu = find_device("cpu"), find_device("b200")

    assert cpu.shared_by(4).budget_bytes == cpu.budget_bytes / 4
    assert cpu.shared_by(1) == cpu
    assert gpu.shared_by(4) == gpu


def test_a_share_of_a_cpu_takes_as_many_times_as_long():
    cpu = replace(find_device("cpu"), bf16_flops=1e12, write_bytes_per_s=1e30)
    for run in (make_run("lora", "village-qwen3-m"), run_in_bf16(make_run("lora", "village-qwen3-m"))):
        whole, part = (forecast([run], [WORK], each) for each in (cpu, cpu.shared_by(4)))

        assert part.hours == pytest.approx(4 * whole.hours)


def test_an_unknown_device_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown device 'b20'; did you mean 'b200'"):
        find_device("b20")


@pytest.mark.parametrize(
    ("hours", "text"), [(0.001, "4 s"), (0.5, "30.0 min"), (0.999, "59.9 min"), (7.25, "7.2 h")]
)
def test_a_duration_is_short_to_read(hours, text):
    assert duration(hours) == text


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
    monkeypatch.setattr(cost_model, "SLICE_COLUMNS", shape.vocabulary - 1)
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
    plan = plan_study(tiny_study, tmp_path)
    rows = sum(
        min(4, len(load_suite("mini").examples(task, split)))
        for task in tiny_study.tasks
        for split in ("validation", "test")
    )

    scored = {
        run.method: plan.checked.works[run.key].scored_rows for run in tiny_study.runs if run.method != "lora"
    }

    assert scored == {"base": rows, "source": 3 * rows, "portal": 3 * rows}


def test_the_plan_says_what_it_costs(
    study_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "plan", str(study_path), "--out", str(tmp_path), "--device", "b200", "--price", "4"]

    assert main(command) == 0
    printed = capsys.readouterr().out

    assert "in the output folder: " in printed
    assert "cost at 4 per device-hour: " in printed
