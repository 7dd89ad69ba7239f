"""Every way to run has a name in one table; what is wanted and what was found are said in one line."""

from pathlib import Path
from typing import get_args

import pytest

from sweeps.launch.executors import (
    EXECUTORS,
    WORTH_TRAIN_S,
    ExecutorName,
    Resources,
    Wanted,
    find_executor,
    suited_executor,
)
from sweeps.planning.devices import GPUS, find_device
from tests.support.command_line import Portal
from tests.support.studies import TINY, load_text


def test_a_study_for_gpus_waits_for_one_at_least() -> None:
    assert Wanted().num_gpus == 0
    assert Wanted("cpu").num_gpus == 0
    assert Wanted("cuda").num_gpus == 1
    assert Wanted("cuda", 8).num_gpus == 8
    assert Wanted.of("auto", 8) == Wanted("cuda", 8)
    assert Wanted.of("auto", 0) == Wanted("auto")


def test_a_launch_names_what_it_runs_on() -> None:
    b200 = Resources((8, 8), "cuda", GPUS["b200"], 1.0)
    unknown = Resources((2,), "cuda", None, 1.0)

    assert str(b200) == "up to 16 workers on GPUs, each with one B200"
    assert str(b200.shared(0.5)) == "up to 32 workers on GPUs, each with one 0.5 of a B200"
    assert str(unknown) == "up to 2 workers on GPUs, each with one GPU"
    assert str(unknown.shared(0.5)) == "up to 4 workers on GPUs, each with one part of a GPU"
    assert str(b200.shared(4)) == "up to 4 workers on GPUs, each with 4 x B200"
    assert str(unknown.shared(2)) == "1 worker on GPUs, each with 2 GPUs"
    assert str(Resources((1,), "cpu", find_device("cpu"))).startswith("1 worker on this CPU (")
    assert str(Resources((4, 4), "cpu", None)) == "up to 8 workers on the CPUs of the cluster"


def test_workers_have_several_gpus_of_one_node_at_the_rate_of_one_or_a_share_of_one() -> None:
    found = Resources((8, 6, 1), "cuda", GPUS["b200"], 1.0)

    fours, halves, thirds = (found.shared(gpus) for gpus in (4, 0.5, 0.3))

    assert (fours.nodes, fours.gpus_per_worker) == ((2, 1, 0), 4)
    assert fours.hardware is not None
    assert (fours.hardware.num_gpus, fours.hardware.label) == (4, "4 x B200")
    assert fours.hardware.flops == GPUS["b200"].flops
    assert fours.hardware.budget_bytes == GPUS["b200"].budget_bytes
    assert (halves.nodes, halves.gpus_per_worker) == ((16, 12, 2), 0.5)
    assert (thirds.nodes, thirds.gpus_per_worker) == ((24, 18, 3), 0.3)
    assert halves.hardware is not None
    assert halves.hardware.memory_bytes == GPUS["b200"].memory_bytes / 2
    assert halves.hardware.name == "0.5 of a B200"
    cpu = Resources((2,), "cpu", find_device("cpu"))
    assert (found.shared(1.0), cpu.shared(0.5)) == (found, cpu)
    told = "gpus_per_worker: 16 takes as many GPUs of one node, the largest has 8"
    with pytest.raises(ValueError, match=told):
        found.shared(16)


def test_a_plan_for_shared_gpus_has_as_many_workers_and_smaller_packs(
    study_path: Path, portal: Portal
) -> None:
    study_path.write_text(f"{TINY}gpus_per_worker: 0.5\n")
    printed = portal("sweep plan tiny.yaml --out out --device h100 --count 2").out
    study_path.write_text(f"{TINY}gpus_per_worker: 0.5\nworkers_per_pack: 2\n")
    refused = portal.refusal("sweep plan tiny.yaml --out out --device h100")

    assert "predicted for 0.5 of a H100" in printed
    assert "on 2 devices, 2 workers on each: " in printed
    assert "workers of one pack need a GPU each" in refused


@pytest.mark.usefixtures("study_path")
def test_the_table_has_every_name_and_an_unknown_one_is_refused(portal: Portal) -> None:
    assert set(EXECUTORS) == set(get_args(ExecutorName))
    assert {find_executor(name) for name in EXECUTORS} == set(EXECUTORS.values())
    with pytest.raises(ValueError, match="unknown executor 'plan'; did you mean 'plain'"):
        find_executor("plan")
    assert "did you mean 'local'" in portal.refusal("sweep run tiny.yaml --out out --executor loca")


def test_auto_takes_train_where_its_start_is_a_small_part_and_leaves_a_cpus_cores_to_the_lanes() -> None:
    lanes = (WORTH_TRAIN_S - 1, WORTH_TRAIN_S, None)

    assert [suited_executor(lane_s, "cuda") for lane_s in lanes] == ["plain", "train", "train"]
    assert [suited_executor(lane_s, "cpu") for lane_s in lanes] == ["plain"] * 3
    assert suited_executor(1.0, "cpu", has_teams=True) == "train"


def test_only_the_executor_local_refuses_workers_that_share_a_pack(tmp_path: Path) -> None:
    settings = load_text(tmp_path, f"{TINY}workers_per_pack: 2\n").settings

    with pytest.raises(ValueError, match="workers_per_pack needs Ray's"):
        EXECUTORS["local"].check(settings)
    for name in EXECUTORS.keys() - {"local"}:
        EXECUTORS[name].check(settings)
