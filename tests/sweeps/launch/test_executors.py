"""Every way to run has a name in one table; what is wanted and what was found are said in one line."""

from typing import get_args

import pytest

from portal.cli import main
from sweeps.launch.driver import run_study
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
from sweeps.study.expand import Study, load_study
from tests.support.studies import TINY


def test_a_study_for_gpus_waits_for_one_at_least() -> None:
    assert Wanted().num_gpus == 0
    assert Wanted("cpu").num_gpus == 0
    assert Wanted("cuda").num_gpus == 1
    assert Wanted("cuda", 8).num_gpus == 8
    assert Wanted.of("auto", 8) == Wanted("cuda", 8)
    assert Wanted.of("auto", 0) == Wanted("auto")
    with pytest.raises(ValueError, match="8 GPUs are wanted with device 'cpu'"):
        Wanted("cpu", 8)


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


def test_workers_with_several_gpus_have_them_on_one_node_and_compute_at_the_rate_of_one() -> None:
    found = Resources((8, 6, 1), "cuda", GPUS["b200"], 1.0)

    fours = found.shared(4)

    assert (fours.nodes, fours.gpus_per_worker) == ((2, 1, 0), 4)
    assert fours.hardware is not None
    assert (fours.hardware.num_gpus, fours.hardware.label) == (4, "4 x B200")
    assert fours.hardware.flops == GPUS["b200"].flops
    assert fours.hardware.budget_bytes == GPUS["b200"].budget_bytes
    with pytest.raises(
        ValueError, match="gpus_per_worker: 16 takes as many GPUs of one node, the largest has 8"
    ):
        found.shared(16)


def test_the_table_has_every_name() -> None:
    assert set(EXECUTORS) == set(get_args(ExecutorName))
    assert {find_executor(name) for name in EXECUTORS} == set(EXECUTORS.values())
    with pytest.raises(ValueError, match="unknown executor 'plan'; did you mean 'plain'"):
        find_executor("plan")


def test_auto_takes_train_where_its_start_is_a_small_part() -> None:
    assert suited_executor(WORTH_TRAIN_S - 1, "cuda") == "plain"
    assert suited_executor(WORTH_TRAIN_S, "cuda") == "train"
    assert suited_executor(None, "cuda") == "train"


def test_auto_leaves_the_cores_of_a_cpu_to_the_lanes() -> None:
    assert [suited_executor(lane_s, "cpu") for lane_s in (1.0, WORTH_TRAIN_S, None)] == ["plain"] * 3
    assert suited_executor(1.0, "cpu", has_teams=True) == "train"


def test_only_the_executor_local_refuses_workers_that_share_a_pack(study_path) -> None:
    study_path.write_text(TINY.replace("name: tiny", "name: tiny\nworkers_per_pack: 2"))
    settings = load_study(study_path).settings

    for name, executor in EXECUTORS.items():
        if name == "local":
            with pytest.raises(ValueError, match="workers_per_pack needs Ray's"):
                executor.check(settings)
        else:
            executor.check(settings)


def test_a_study_is_run_in_silence_unless_a_console_is_given(
    tiny_study: Study, finished, capfd: pytest.CaptureFixture[str]
) -> None:
    (finished / "runs" / tiny_study.runs[0].key / "DONE.json").unlink()

    outcome = run_study(tiny_study, finished, executor="local")

    assert outcome.trained == 1
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_the_command_names_an_unknown_executor(study_path, tmp_path, capsys) -> None:
    assert main(["sweep", "run", str(study_path), "--out", str(tmp_path / "out"), "--executor", "loca"]) == 2
    assert "did you mean 'local'" in capsys.readouterr().err
