"""Every way to run has a name in one table, and `auto` is one of the others."""

from typing import get_args

import pytest

from portal.cli import main
from sweeps.launch.driver import run_study
from sweeps.launch.executors import (
    EXECUTORS,
    WORTH_TRAIN_S,
    ExecutorName,
    find_executor,
    suited_executor,
)
from sweeps.study.expand import Study, load_study
from tests.support.studies import TINY


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
