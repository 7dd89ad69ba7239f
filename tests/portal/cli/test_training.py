"""`portal train` and `portal port`: one run each, its scores beside those of the frozen base."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from portal.artifacts.artifact_files import WEIGHTS
from portal.cli import main
from sweeps.planning import checks
from sweeps.store.run_store import RunStore
from tests.support.bases import character_tokenizer
from tests.support.driver_tool import put_driver_tool
from tests.support.zoo import LAYERS, tiny_model


def port_command(world: Path, out: Path, *options: str) -> list[str]:
    """The command that made `world / "ported"`, into another folder."""
    command = ["port", str(world / "source"), "--to", "tiny-gemma3", "--out", str(out), *options]
    return [*command, "--data", str(world / "data"), "--examples", "8", "--epochs", "1", "--seed", "3"]


def runs_by_method(out: Path) -> dict[str, str]:
    """Keys of the runs in an output folder, by their methods."""
    store = RunStore(out)
    return {store.read_run(path.name).method: path.name for path in (out / "runs").iterdir()}


def test_a_finished_port_is_neither_trained_nor_scored_again(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    markers = sorted((world / "ported" / "runs").glob("*/DONE.json"))
    before = [marker.stat().st_mtime_ns for marker in markers]

    assert main(port_command(world, world / "ported")) == 0

    assert len(markers) == 2
    assert [marker.stat().st_mtime_ns for marker in markers] == before
    assert "artifact: " in capsys.readouterr().out


@pytest.mark.parametrize("command", ["train", "port"])
def test_a_large_base_is_not_trained_on_a_cpu_until_the_device_is_named(
    command: str,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the driver lists a GPU that torch cannot use, that is said, too."""
    put_driver_tool(tmp_path, monkeypatch, "echo 470.1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(checks, "LARGE_BASE_WEIGHTS", 1.0)
    out = tmp_path / "out"
    arguments = port_command(world, out, "--no-base")
    if command == "train":
        arguments = ["train", "--source", "tiny-gemma3", *arguments[4:]]

    assert main(arguments) == 2

    said = capsys.readouterr().err.splitlines()
    assert not out.exists()
    assert said[0].startswith("portal: the driver, 470.1, lists 1 GPU, and torch ")
    assert said[-1].endswith("no GPU on this machine; --device cpu trains on the CPU all the same")
    if command == "port":
        assert main([*arguments, "--device", "cpu"]) == 0
        assert main(arguments) == 0  # it is finished, and says its scores


def test_the_frozen_base_is_scored_beside_the_adapter_on_the_same_rows(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(port_command(world, world / "ported")) == 0
    header, frozen, adapter, _ = capsys.readouterr().out.splitlines()
    assert main(["eval", "--base", "tiny-gemma3", "--data", str(world / "data"), "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)["macro"]

    assert header.split() == ["base", "scored", "tasks", "chance", "acc", "acc_norm", "log_loss"]
    expected = [f"{alone[metric]:.4f}" for metric in ("acc", "acc_norm", "log_loss")]
    assert frozen.split()[:4] == ["tiny-gemma3", "frozen", "base", "3"]
    assert frozen.split()[-3:] == expected
    assert adapter.split()[:3] == ["tiny-gemma3", "adapter", "3"]
    assert adapter.split()[-1] != frozen.split()[-1]


def test_test_rows_that_were_trained_on_are_told_of(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(world / "data", data)
    test = data / "sums" / "test.jsonl"
    test.write_text((data / "sums" / "train.jsonl").read_text())
    command = [*port_command(world, tmp_path / "out", "--no-base", "--tasks", "sums")]
    command[command.index("--data") + 1] = str(data)

    assert main(command) == 0

    assert "portal: task 'sums': " in (said := capsys.readouterr().err)
    assert "test rows repeat the text of training or validation rows" in said


def test_a_port_to_a_hybrid_base_says_once_what_it_adapts_there(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = port_command(world, tmp_path / "out", "--no-base")
    command[command.index("tiny-gemma3")] = "village-qwen3.5"

    assert main(command) == 0

    said = capsys.readouterr()
    lines = [line for line in (said.out + said.err).splitlines() if "are adapted as" in line]
    assert len(lines) == 1
    assert lines[0].startswith("base village-qwen3.5: ")
    assert "in_qkv for q in 4" in lines[0]
    assert main(["inspect", str(tmp_path / "out")]) == 0
    assert "in_qkv (in 4)" in capsys.readouterr().out


def test_a_source_on_a_dense_base_is_ported_to_a_mixture(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model("qwen3_moe").save_pretrained(tmp_path / "mixture")
    character_tokenizer(bos=False).save_pretrained(tmp_path / "mixture")
    command = port_command(world, tmp_path / "out")
    command[command.index("tiny-gemma3")] = str(tmp_path / "mixture")

    assert main(command) == 0

    _, frozen, adapter, _ = capsys.readouterr().out.splitlines()
    assert frozen.split()[-1] != adapter.split()[-1]
    assert main(["inspect", str(tmp_path / "out"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["artifacts"]
    assert set(found["layers_by_module"].values()) == {LAYERS}


def test_a_port_says_how_far_it_is_and_is_the_same_without_the_base(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(port_command(world, tmp_path / "out", "--no-base")) == 0

    captured = capsys.readouterr()
    assert "port: 1/1 runs" in captured.err
    assert "frozen base" not in captured.out + captured.err
    assert list(runs_by_method(tmp_path / "out")) == ["portal"]
    key = runs_by_method(tmp_path / "out")["portal"]
    assert key == runs_by_method(world / "ported")["portal"]
    with_base, without = (
        load_file(out / "artifact" / WEIGHTS) for out in (world / "ported", tmp_path / "out")
    )
    assert all(torch.equal(with_base[name], without[name]) for name in with_base.keys() | without.keys())


def test_an_untouched_folder_has_no_faults(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("source", "ported"):
        assert main(["sweep", "fsck", str(world / name)]) == 0, capsys.readouterr().err


def test_joint_training_scores_every_base_of_its_own(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ["train", "--source", "tiny-qwen3,tiny-llama", "--out", str(world / "source"), "--rank", "2"]

    assert main([*source, "--data", str(world / "data"), "--examples", "8", "--epochs", "1"]) == 0

    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:5]]
    assert lines == [[base, what] for base in ("tiny-qwen3", "tiny-llama") for what in ("frozen", "adapter")]


def test_an_output_folder_with_an_artifact_of_ones_own_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "artifact").mkdir(parents=True)

    assert main(port_command(world, tmp_path / "out")) == 2

    assert "not a link of an earlier run; choose another --out" in capsys.readouterr().err
    assert not (tmp_path / "out" / "runs").exists()
