"""Schedules: exact on small cases, near the lower bound on the paper's study and on large ones.

A pack is predicted as the cost model does it; packs that differ in seeds alone are predicted once.
"""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.planning.checks import check_study
from sweeps.planning.cost_model import duration, forecast, forward_tokens, peak_memory
from sweeps.planning.devices import find_device
from sweeps.planning.plan import (
    LANE_PACKS,
    PackForecaster,
    Plan,
    Schedule,
    ScheduledPack,
    earliest_finish,
    lower_bound,
    plan_study,
    play,
    stage_names,
)
from sweeps.planning.plan_table import memory_warning, to_json
from sweeps.store.run_store import PackStore, RunStore
from sweeps.study.expand import Study
from tests.support.command_line import Portal
from tests.support.studies import TINY, load_text


def keys(plan: Plan) -> list[str]:
    return [run.key for run in plan.missing]


def test_a_plan_has_every_missing_run_in_one_pack_sources_first_and_writes_nothing(
    tiny_study: Study, tmp_path: Path
) -> None:
    plan = plan_study(tiny_study, tmp_path / "out", device=find_device("b200"))

    assert sorted(keys(plan)) == sorted(tiny_study.by_key)
    assert all(len({(run.bases, run.adapter) for run in pack.runs}) == 1 for pack in plan.packs)
    assert plan.packs[-1].needs == tuple(run.key for run in plan.packs[0].runs)
    unmeasured = plan_study(tiny_study, tmp_path / "out")  # in units of cost
    for lane in (plan.packs, *plan.lanes(2), *unmeasured.lanes(2)):
        assert {pack.key for pack in lane} == {pack.key for pack in plan.packs}
        assert (lane[0].runs[0].method, lane[-1].runs[0].method) == ("source", "portal")
    value = to_json(plan, 1)
    assert (value["total"], value["done"], value["missing"]) == (9, 0, 9)
    assert sum(len(pack["runs"]) for pack in value["packs"]) == 9
    assert [*tmp_path.iterdir()] == []


def test_recorded_packs_stay_as_they_are_without_what_is_finished_and_new_seeds_have_packs_of_their_own(
    tiny_study: Study, tmp_path: Path
) -> None:
    store, before = RunStore(tmp_path), plan_study(tiny_study, tmp_path)
    recorded = {pack.key: pack.members for pack in before.packs}
    for key, members in recorded.items():
        PackStore(tmp_path).record_pack(key, members)
    finished = before.packs[0].runs[0].key
    store.run_folder(finished).mkdir(parents=True)
    store.mark_done(finished)
    larger = load_text(tmp_path, TINY.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))

    after, new = plan_study(tiny_study, tmp_path), plan_study(larger, tmp_path)

    assert set(keys(before)) - set(keys(after)) == {finished}
    assert [pack.key for pack in after.packs] == [*recorded]
    assert {pack.key: pack.members for pack in new.packs if pack.key in recorded} == recorded
    added = [run for pack in new.packs if pack.key not in recorded for run in pack.runs]
    assert {run.seed for run in added} == {2}


def test_packs_are_no_larger_than_the_study_says(tmp_path: Path) -> None:
    study = load_text(tmp_path, TINY.replace("name: tiny", "name: tiny\npack_size: 3"))

    plan = plan_study(study, tmp_path / "out")

    assert sorted(len(pack.runs) for pack in plan.packs) == [1, 2, 2, 2, 2]


def test_a_rank_above_a_width_and_a_folder_that_is_a_file_are_refused_before_anything_runs(
    tiny_study: Study, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="rank 4000 is above the width"):
        plan_study(load_text(tmp_path, TINY.replace("rank: 4", "rank: 4000")), tmp_path / "out")
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        plan_study(tiny_study, tmp_path / "out")


def test_for_several_lanes_packs_are_small_enough_that_all_have_work(
    tiny_study: Study, tmp_path: Path
) -> None:
    one, *others = (
        plan_study(tiny_study, tmp_path, device=find_device("b200"), lanes=lanes) for lanes in (1, 2, 4)
    )

    for lanes, plan in zip((2, 4), others, strict=True):
        most = sum(pack.cost for pack in plan.packs) / (min(LANE_PACKS) * lanes)
        assert len(plan.packs) > len(one.packs)
        assert all(len(pack.runs) == 1 or pack.cost <= most for pack in plan.packs)
        assert sorted(keys(plan)) == sorted(keys(one))


@pytest.mark.usefixtures("study_path")
def test_a_plan_for_several_devices_says_how_long_they_take_and_what_they_cost(
    tiny_study: Study, tmp_path: Path, portal: Portal
) -> None:
    device = find_device("b200")
    printed = portal("sweep plan tiny.yaml --out out --device b200 --count 3 --price 1000").out

    schedule = plan_study(tiny_study, tmp_path / "out", device=device, lanes=3).schedule(3)
    low, high = (share * schedule.makespan / 3600 for share in device.uncertainty)
    assert low < schedule.makespan / 3600 < high
    for part in (
        "in the output folder: ",
        "cost at 1000 per device-hour: ",
        f"from start to end ({duration(low)} to {duration(high)}), ",
        f"from start to end ({3000 * low:.2f} to {3000 * high:.2f})",
        "on 3 devices: ",
        f"{schedule.makespan / schedule.lower_bound:.2f} times the least possible",
        "executor auto: plain",
    ):
        assert part in printed
    refused = portal("sweep plan tiny.yaml --out out --device b200 --count 0", code=2).err
    assert "'--count': Input should be greater than or equal to 1" in refused


def test_stages_have_names_at_any_depth_and_only_those_that_are_present() -> None:
    assert stage_names([2, 1, 2]) == {1: "train", 2: "port"}
    assert list(stage_names([4, 2]).values()) == ["port", "stage 4"]


def test_packs_that_may_not_fit_are_counted_and_those_that_need_most_named(
    tiny_study: Study, tmp_path: Path
) -> None:
    device = find_device("b200")
    plan, tight = (
        plan_study(tiny_study, tmp_path, device=each) for each in (device, replace(device, memory_bytes=1.0))
    )

    assert memory_warning(plan) is None
    needed = dict(zip((pack.key for pack in tight.packs), tight.forecasts, strict=True))
    most = sorted(needed, key=lambda key: -needed[key].memory_bytes)[:3]
    warning = memory_warning(tight)
    assert warning.startswith(f"{len(needed)} packs may not fit {tight.device.label}: {most[0]}, ")
    assert [key for key in needed if key in warning] == [key for key in needed if key in most]
    assert warning.endswith(f" and {len(needed) - 3} more")


def task(key: str, seconds: float, *needs: str, base: str = "b", load_s: float = 0.0) -> ScheduledPack:
    return ScheduledPack(key, seconds, (base,), needs, load_s)


def test_a_port_starts_when_its_source_has_ended_and_others_fill_the_gap() -> None:
    tasks = [task("source", 4), task("lora", 3), task("small", 1), task("port", 2, "source")]

    assert play([tasks, tasks]) == Schedule(6.0, 6.0, (6.0, 4.0))
    assert play([tasks]).makespan == 10


def test_bases_are_loaded_when_a_lane_changes_them() -> None:
    tasks = [task(key, 1, base=base, load_s=10) for key, base in (("a", "x"), ("b", "x"), ("c", "y"))]

    assert play([tasks]).makespan == 23
    assert play([[tasks[0], tasks[2], tasks[1]]]).makespan == 33
    assert play([tasks], start_s=5) == Schedule(28, 28, (23,))


def test_a_lane_that_waits_loads_what_comes_next() -> None:
    source = task("source", 30, base="x", load_s=10)
    port = task("port", 5, "source", base="y", load_s=20)

    assert play([[source, port]]).makespan == 65
    assert play([[source, port]] * 2) == Schedule(45, 45, (40, 25))
    assert lower_bound([source, port], 2) == 45


def test_what_a_long_chain_hangs_on_goes_first_and_a_base_stays_where_it_is_loaded() -> None:
    head, tail = task("head", 10), task("tail", 50, "head")
    fillers = [task(f"filler-{number}", 20) for number in range(3)]
    moved = [task(f"moved-{number}", 10, base="x", load_s=30) for number in range(2)]

    lanes = earliest_finish([*fillers, head, tail], 2)
    alone = earliest_finish([*moved, task("other", 50)], 2)

    assert [each.key for each in lanes[0][:2]] == ["head", "tail"]
    assert play(lanes) == Schedule(60, 60, (60, 60))
    assert [each.key for each in alone[1][:2]] == ["moved-0", "moved-1"]
    assert play(alone).makespan == 50


def test_a_pack_that_waits_for_nothing_planned_is_refused() -> None:
    with pytest.raises(ValueError, match="pack port waits for source, which is not planned"):
        play([[task("port", 1, "source")]])


@given(
    seconds=st.lists(st.floats(0.1, 100), min_size=1, max_size=40),
    lanes=st.integers(1, 12),
    waits=st.randoms(use_true_random=False),
)
def test_a_schedule_does_all_the_work_within_grahams_bound(
    seconds: list[float], lanes: int, waits: random.Random
) -> None:
    tasks = [
        task(str(index), length, *([str(waits.randrange(index))] if index and waits.random() < 0.3 else []))
        for index, length in enumerate(seconds)
    ]

    for orders in ([tasks] * lanes, earliest_finish(tasks, lanes)):
        found = play(orders)

        assert all(sorted(map(str, order)) == sorted(map(str, tasks)) for order in orders)
        assert sum(found.busy) == pytest.approx(sum(seconds))
        assert found.lower_bound == pytest.approx(lower_bound(tasks, lanes))
        assert found.lower_bound <= found.makespan * (1 + 1e-9)
        assert found.makespan <= 2 * found.lower_bound * (1 + 1e-9)


def test_predictions_are_the_cost_models(tmp_path: Path) -> None:
    study = load_text(tmp_path, TINY.replace("seeds: [0, 1]", "seeds: [0, 1, 2, 3]"))
    for name in ("cpu", "b200"):
        plan = plan_study(study, tmp_path, device=find_device(name), lanes=4)

        assert len(plan.packs) > 8
        assert plan.forecaster is not None
        for pack, predicted in zip(plan.packs, plan.forecasts, strict=True):
            works = [plan.checked.works[run.key] for run in pack.runs]
            how = plan.checked.how
            assert predicted == forecast(pack.runs, works, plan.device, how)
            assert plan.forward_tokens(pack) == forward_tokens(pack.runs, works, plan.device, how)
            assert plan.forecaster.peak_bytes(pack.runs) == peak_memory(pack.runs, works, plan.device, how)


def test_packs_that_differ_in_seeds_alone_are_predicted_once(tiny_study: Study) -> None:
    loras, small = (
        [run for run in tiny_study.runs if run.method == "lora" and run.data.size == size] for size in (8, 4)
    )
    forecaster = PackForecaster(check_study(tiny_study), find_device("b200"))

    assert {run.seed for run in loras} == {0, 1}
    assert forecaster.forecast(loras[:1]) is forecaster.forecast(loras[1:])
    assert forecaster.forecast(small[:1]) != forecaster.forecast(loras[:1])
    assert forecaster.forecast(loras) != forecaster.forecast(loras[:1])
