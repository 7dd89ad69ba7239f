"""Many adapters on one base: by Ray Data the same scores as one after another, and one line for a mistake."""

import json
import shutil
from pathlib import Path

import pytest

from portal.cli import main
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from tests.support.studies import Tables


@pytest.fixture
def adapters(tiny_study: Study, unbroken: tuple[Path, Tables], tmp_path: Path) -> list[str]:
    """The LoRAs of two runs, as folders of two adapters each."""
    runs = [run for run in tiny_study.runs if run.method == "lora" and run.data.size == 8]
    folders = []
    for run in runs:
        folder = tmp_path / f"seed-{run.seed}"
        shutil.copytree(RunStore(unbroken[0]).run_folder(run.key) / "artifact", folder)
        folders += ["--adapter", str(folder)]
    return folders


def command(adapters: list[str], *options: str) -> list[str]:
    return [
        "eval",
        "--base",
        "mini-qwen3-s",
        *adapters,
        "--tasks",
        "fact_qa,counting",
        "--limit",
        "20",
        *options,
    ]


def test_several_adapters_are_a_line_each(adapters: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(adapters)) == 0
    printed = capsys.readouterr()

    lines = printed.out.splitlines()
    assert lines[0].split() == [
        "adapter", "fact_qa", "counting", "mean", "acc", "mean", "acc_norm", "mean", "log_loss"
    ]  # fmt: skip
    assert [line.split()[0].split("/")[-2:] for line in lines[1:5]] == [
        ["seed-0", "counting"],
        ["seed-0", "fact_qa"],
        ["seed-1", "counting"],
        ["seed-1", "fact_qa"],
    ]
    assert "4 of 4 adapters scored" in printed.err


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_actors_give_the_scores_of_one_process_and_of_each_adapter_alone(
    ray_cluster: str, adapters: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(adapters, "--json")) == 0
    one_process = json.loads(capsys.readouterr().out)
    assert main(command(adapters, "--json", "--workers", "2")) == 0
    actors = json.loads(capsys.readouterr().out)
    name = next(iter(one_process["adapters"]))
    assert main(command(["--adapter", name], "--json")) == 0
    alone = json.loads(capsys.readouterr().out)

    assert list(actors["adapters"]) == list(one_process["adapters"])
    assert actors == one_process
    assert {"base": alone.pop("base"), "weights": alone.pop("weights")} == {
        "base": "mini-qwen3-s",
        "weights": None,
    }
    assert one_process["adapters"][name] == alone


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_an_adapter_of_another_base_is_one_line_also_from_an_actor(
    ray_cluster: str, adapters: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = command(adapters, "--workers", "2")
    foreign[2] = "mini-qwen3-m"

    assert main(foreign) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("portal: ")]
    assert len(error) == 1
    assert "made for a base of revision" in error[0]


def test_a_folder_without_adapters_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(["--adapter", str(tmp_path)])) == 2
    assert "not a PEFT adapter" in capsys.readouterr().err
