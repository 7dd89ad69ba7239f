"""Every run of a study is listed with what it is and how it stands.

Plans for workers with several GPUs: what lies where, what less precision saves, what would make room.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.planning.devices import GPUS, Device
from sweeps.planning.memory import base_bytes, footprint, fullest_part
from sweeps.planning.plan import Plan, plan_study
from sweeps.planning.plan_table import (
    RUN_HEADERS,
    division_lines,
    least_gpus,
    memory_warning,
    room_lines,
    run_records,
    run_rows,
)
from sweeps.study.expand import Study
from tests.support.bases import make_run
from tests.support.command_line import Portal
from tests.support.studies import TINY, load_text
from tests.support.zoo import tiny_config


def test_states_and_sizes_of_all_runs_are_listed_with_a_cell_for_every_header(
    tiny_study: Study, finished: Path, tmp_path: Path
) -> None:
    plan = plan_study(tiny_study, tmp_path / "empty")
    done, missing, rows = run_records(plan_study(tiny_study, finished)), run_records(plan), run_rows(plan)

    assert {record["state"] for record in done} == {"done"}
    assert {record["state"] for record in missing} == {"missing"}
    assert [record["run"] for record in done] == [run.key for run in tiny_study.runs]
    found = {(record["label"], record["size"], record["seed"]) for record in done}
    assert found == {
        ("base", None, None),
        *(("lora", size, seed) for size in (8, 4) for seed in (0, 1)),
        *((label, 8, seed) for label in ("source", "portal") for seed in (0, 1)),
    }
    assert {len(row) for row in rows} == {len(RUN_HEADERS)}
    (base,) = [row for row in rows if row[0] == "base"]
    assert base[1:5] == ("mini-qwen3-s", "-", "-", "missing")


BASE = "mini-qwen3-s"
WHOLE = base_bytes(BASE, "default", on_gpu=True)
STUDY = TINY.replace("sources: [mini-qwen3-xs]", "sources: [mini-qwen3-m]")


def planned(folder: Path, device: Device, text: str = STUDY) -> Plan:
    return plan_study(load_text(folder, text), folder / "out", device=device)


def test_a_base_on_several_gpus_takes_the_fullest_of_them_and_its_share_of_the_layers() -> None:
    run = make_run("lora", "qwen3-8b")
    one, four = (footprint([run], "qwen3-8b", length=64, on_gpu=True, num_gpus=count) for count in (1, 4))

    part = fullest_part("qwen3-8b", "default", on_gpu=True, num_gpus=4)

    assert 1 / 4 <= part.num_bytes / one.base < 1 / 3.5
    assert part.layers == 11 / 36  # seven are beside the embedding, and seven beside the head
    assert (four.base, four.learners) == (part.num_bytes, one.learners)
    assert four.per_token == pytest.approx(part.layers * one.per_token)


def test_several_gpus_have_room_for_more_and_take_the_time_of_one_and_a_plan_says_how_bases_are_divided(
    tmp_path: Path,
) -> None:
    alone, divided = (planned(tmp_path, GPUS["b200"].for_worker(count)) for count in (1, 2))

    for ours, theirs in zip(divided.forecasts, alone.forecasts, strict=True):
        assert ours.memory_bytes < theirs.memory_bytes
        assert (ours.hours, ours.flops) == (theirs.hours, theirs.flops)
    assert division_lines(alone) == []
    small, large = sorted(division_lines(divided), reverse=True)
    assert large.startswith("mini-qwen3-m: divided over 2 GPUs that compute in turns; 0.0 GiB of weights on ")
    assert small.endswith("the fullest (0.0 GiB in 8bit, 0.0 GiB in 4bit)")


def test_what_would_make_room_for_a_base_is_named(tmp_path: Path) -> None:
    gpu = replace(GPUS["b200"], memory_bytes=0.7 * WHOLE)

    lines = {line.split()[0]: line for line in room_lines(planned(tmp_path, gpu))}

    assert f"{BASE} has 0 GiB of weights: gpus_per_worker: 2 divides them" in lines[BASE]
    assert "precision: " in lines["mini-qwen3-m"]
    assert room_lines(planned(tmp_path, GPUS["b200"])) == []
    tiny = replace(GPUS["b200"], memory_bytes=0.05 * WHOLE)
    assert "more than 8 of these GPUs hold" in room_lines(planned(tmp_path, tiny))[0]
    assert memory_warning(planned(tmp_path, tiny)) is not None


def test_a_base_that_cannot_be_divided_gets_no_advice_to_divide_it(tmp_path: Path) -> None:
    tiny_config("zamba2").save_pretrained(tmp_path)

    assert least_gpus(str(tmp_path), "default", 1e9) == 1
    assert least_gpus(str(tmp_path), "default", 1e3) is None


def test_the_command_plans_for_workers_of_several_gpus(study_path: Path, portal: Portal) -> None:
    study_path.write_text(f"{TINY}gpus_per_worker: 2\n")

    printed = portal("sweep plan tiny.yaml --out out --device b200 --count 8").out
    refused = portal.refusal("sweep plan tiny.yaml --out out --device b200 --count 1")

    assert f"{BASE}: divided over 2 GPUs that compute in turns" in printed
    assert "predicted for 2 x B200, one worker: " in printed
    assert "on 8 devices, 2 to a worker: " in printed
    assert "gpus_per_worker: 2 needs --count 2 at least, which is 1" in refused


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        ("1.5", "gpus_per_worker: it is a share of one GPU, or a whole number, not 1.5"),
        ("0", "gpus_per_worker: Input should be greater than 0"),
        ("64", "base 'mini-qwen3-s': 4 layers cannot be divided over 64 GPUs"),
    ],
)
def test_other_numbers_of_gpus_are_refused_in_a_line(
    gpus: str, told: str, study_path: Path, portal: Portal
) -> None:
    study_path.write_text(f"{TINY}gpus_per_worker: {gpus}\n")

    assert told in portal.refusal("sweep plan tiny.yaml --out out --device b200 --count 64")
