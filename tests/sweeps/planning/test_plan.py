from dataclasses import replace

import pytest

from portal.cli import main
from sweeps.planning.cost_model import duration
from sweeps.planning.devices import find_device
from sweeps.planning.plan import LANE_PACKS, plan_study, stage_names
from sweeps.planning.plan_table import memory_warning, to_json
from sweeps.store.pack_store import PackStore
from sweeps.store.run_store import RunStore
from sweeps.study.expand import load_study
from tests.support.studies import TINY


def keys(plan):
    return [run.key for run in plan.missing]


def test_a_plan_holds_every_missing_run_in_exactly_one_pack(study_path, tmp_path):
    study = load_study(study_path)

    plan = plan_study(study, tmp_path / "out")

    assert sorted(keys(plan)) == sorted(study.by_key)
    assert all(len({(run.bases, run.adapter) for run in pack.runs}) == 1 for pack in plan.packs)
    assert plan.packs[0].runs[0].method == "source"
    assert plan.packs[-1].needs == tuple(run.key for run in plan.packs[0].runs)


def test_a_finished_run_leaves_the_plan_and_its_pack_keeps_its_key(study_path, tmp_path):
    study, store = load_study(study_path), RunStore(tmp_path)
    before = plan_study(study, tmp_path)
    for pack in before.packs:
        PackStore(tmp_path).record_pack(pack.key, pack.members)
    finished = before.packs[0].runs[0].key
    store.run_folder(finished).mkdir(parents=True)
    store.mark_done(finished)

    after = plan_study(study, tmp_path)

    assert set(keys(before)) - set(keys(after)) == {finished}
    assert [pack.key for pack in after.packs] == [pack.key for pack in before.packs]


def test_a_new_seed_makes_new_packs_and_leaves_recorded_ones_as_they_are(study_path, tmp_path):
    before = plan_study(load_study(study_path), tmp_path)
    for pack in before.packs:
        PackStore(tmp_path).record_pack(pack.key, pack.members)
    study_path.write_text(TINY.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))

    after = plan_study(load_study(study_path), tmp_path)

    recorded = {pack.key: pack.members for pack in before.packs}
    assert {pack.key: pack.members for pack in after.packs if pack.key in recorded} == recorded
    new = [run for pack in after.packs if pack.key not in recorded for run in pack.runs]
    assert {run.seed for run in new} == {2}


def test_packs_are_no_larger_than_the_study_says(study_path, tmp_path):
    study_path.write_text(TINY.replace("name: tiny", "name: tiny\npack_size: 3"))

    plan = plan_study(load_study(study_path), tmp_path / "out")

    assert sorted(len(pack.runs) for pack in plan.packs) == [1, 2, 2, 2, 2]


def test_every_lane_lists_all_packs_and_sources_come_first(study_path, tmp_path):
    plan = plan_study(load_study(study_path), tmp_path / "out")

    for lane in plan.lanes(2):
        assert {pack.key for pack in lane} == {pack.key for pack in plan.packs}
        assert lane[0].runs[0].method == "source"
        assert lane[-1].runs[0].method == "portal"


def test_a_rank_above_a_width_is_refused_before_anything_runs(study_path, tmp_path):
    study_path.write_text(TINY.replace("rank: 4", "rank: 4000"))

    with pytest.raises(ValueError, match="rank 4000 is above the width"):
        plan_study(load_study(study_path), tmp_path / "out")


def test_a_plan_writes_nothing(study_path, tmp_path):
    before = set(tmp_path.rglob("*"))

    plan_study(load_study(study_path), tmp_path / "out", device=find_device("b200"), lanes=2)

    assert set(tmp_path.rglob("*")) == before


def test_a_folder_that_is_a_file_is_refused(study_path, tmp_path):
    (tmp_path / "out").write_text("")

    with pytest.raises(ValueError, match="cannot be written"):
        plan_study(load_study(study_path), tmp_path / "out")


def test_the_plan_as_json_counts_what_it_lists(study_path, tmp_path):
    value = to_json(plan_study(load_study(study_path), tmp_path / "out", device=find_device("b200")), 1)

    assert (value["total"], value["done"], value["missing"]) == (9, 0, 9)
    assert sum(len(pack["runs"]) for pack in value["packs"]) == 9


@pytest.mark.parametrize("lanes", [2, 4])
def test_for_several_lanes_packs_are_small_enough_that_all_have_work(study_path, tmp_path, lanes):
    study, device = load_study(study_path), find_device("b200")
    one = plan_study(study, tmp_path / "out", device=device)

    plan = plan_study(study, tmp_path / "out", device=device, lanes=lanes)

    total = sum(pack.cost for pack in plan.packs)
    assert len(plan.packs) > len(one.packs)
    most = total / (min(LANE_PACKS) * lanes)
    assert all(len(pack.runs) == 1 or pack.cost <= most for pack in plan.packs)
    assert sorted(keys(plan)) == sorted(keys(one))


def test_a_plan_for_several_devices_says_how_long_they_take_and_what_they_cost(study_path, tmp_path, capsys):
    command = ["sweep", "plan", str(study_path), "--out", str(tmp_path / "out"), "--device", "b200"]
    device = find_device("b200")

    assert main([*command, "--count", "3", "--price", "1000"]) == 0
    printed = capsys.readouterr().out
    schedule = plan_study(load_study(study_path), tmp_path / "out", device=device, lanes=3).schedule(3)
    low, high = (share * schedule.makespan / 3600 for share in device.uncertainty)
    assert low < schedule.makespan / 3600 < high
    assert f"from start to end ({duration(low)} to {duration(high)}), " in printed
    assert f"from start to end ({3000 * low:.2f} to {3000 * high:.2f})" in printed
    assert "on 3 devices: " in printed
    assert f"{schedule.makespan / schedule.lower_bound:.2f} times the least possible" in printed
    assert "executor auto: plain" in printed
    assert main([*command, "--count", "0"]) == 2
    assert "--count 0: at least 1" in capsys.readouterr().err


def test_stages_have_names_at_any_depth_and_only_those_that_are_present() -> None:
    assert stage_names([2, 1, 2]) == {1: "train", 2: "port"}
    assert list(stage_names([4, 2]).values()) == ["port", "stage 4"]


def test_packs_that_may_not_fit_are_counted_and_those_that_need_most_named(study_path, tmp_path):
    study, device = load_study(study_path), find_device("b200")
    plan = plan_study(study, tmp_path / "out", device=device)

    tight = plan_study(study, tmp_path / "out", device=replace(device, memory_bytes=1.0))

    assert memory_warning(plan) is None
    needed = dict(zip((pack.key for pack in tight.packs), tight.forecasts, strict=True))
    most = sorted(needed, key=lambda key: -needed[key].memory_bytes)[:3]
    warning = memory_warning(tight)
    assert warning.startswith(f"{len(needed)} packs may not fit {tight.device.label}: {most[0]}, ")
    assert [key for key in needed if key in warning] == [key for key in needed if key in most]
    assert warning.endswith(f" and {len(needed) - 3} more")
