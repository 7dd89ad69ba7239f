"""`portal train` and `portal port`: one run each, its scores beside those of the frozen base."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from portal.artifacts.artifact_files import WEIGHTS
from sweeps.planning import checks
from sweeps.store.run_store import RunStore
from tests.support.bases import character_tokenizer
from tests.support.command_line import Portal
from tests.support.driver_tool import put_driver_tool
from tests.support.zoo import LAYERS, tiny_model


@pytest.fixture
def port(world: Path) -> str:
    """The command that made `world / "ported"`, into the folder `out`."""
    command = f"port '{world}/source' --to tiny-gemma3 --data '{world}/data' --out out"
    return f"{command} --examples 8 --epochs 1 --seed 3"


def runs_by_method(out: Path) -> dict[str, str]:
    """Keys of the runs in an output folder, by their methods."""
    store = RunStore(out)
    return {store.read_run(path.name).method: path.name for path in (out / "runs").iterdir()}


def test_a_finished_port_is_not_trained_again_and_stands_beside_the_frozen_base_on_the_same_rows(
    world: Path, port: str, portal: Portal
) -> None:
    markers = sorted((world / "ported" / "runs").glob("*/DONE.json"))
    before = [marker.stat().st_mtime_ns for marker in markers]

    header, frozen, adapter, place = portal(f"{port} --out '{world}/ported'").cells

    assert len(markers) == 2
    assert [marker.stat().st_mtime_ns for marker in markers] == before
    assert place[0] == "artifact:"
    alone = portal(f"eval --base tiny-gemma3 --data '{world}/data' --json").json["macro"]
    assert header == ["base", "scored", "tasks", "chance", "acc", "acc_norm", "log_loss"]
    assert frozen[:4] == ["tiny-gemma3", "frozen", "base", "3"]
    assert frozen[-3:] == [f"{alone[metric]:.4f}" for metric in ("acc", "acc_norm", "log_loss")]
    assert adapter[:3] == ["tiny-gemma3", "adapter", "3"]
    assert adapter[-1] != frozen[-1]


@pytest.mark.parametrize("command", ["train", "port"])
def test_a_large_base_is_not_trained_on_a_cpu_until_the_device_is_named(
    command: str, port: str, tmp_path: Path, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the driver lists a GPU that torch cannot use, that is said, too."""
    put_driver_tool(tmp_path, monkeypatch, "echo 470.1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(checks, "LARGE_BASE_WEIGHTS", 1.0)
    line = f"{port} --no-base"
    if command == "train":
        line = "train --source tiny-gemma3 --data" + line.partition("--data")[2]

    said = portal(line, code=2).err.splitlines()

    assert not Path("out").exists()
    assert said[0].startswith("portal: the driver, 470.1, lists 1 GPU, and torch ")
    assert said[-1].endswith("no GPU on this machine; --device cpu trains on the CPU all the same")
    if command == "port":
        portal(f"{line} --device cpu")
        portal(line)  # it is finished, and says its scores


def test_test_rows_that_were_trained_on_are_told_of(world: Path, port: str, portal: Portal) -> None:
    data = Path(shutil.copytree(world / "data", "data"))
    shutil.copy(data / "sums/train.jsonl", data / "sums/test.jsonl")

    said = portal(f"{port} --no-base --tasks sums --data data").err

    assert "portal: task 'sums': " in said
    assert "test rows repeat the text of training or validation rows" in said


def test_a_source_on_a_dense_base_is_ported_to_a_hybrid_which_is_told_and_to_a_mixture(
    port: str, portal: Portal
) -> None:
    said = portal(f"{port} --no-base --to village-qwen3.5 --out hybrid")
    (line,) = [line for line in (said.out + said.err).splitlines() if "are adapted as" in line]
    assert line.startswith("base village-qwen3.5: ")
    assert "in_qkv for q in 4" in line
    assert "in_qkv (in 4)" in portal("inspect hybrid").out

    tiny_model("qwen3_moe").save_pretrained("mixture")
    character_tokenizer(bos=False).save_pretrained("mixture")
    _, frozen, adapter, _ = portal(f"{port} --to ./mixture").cells
    assert frozen[-1] != adapter[-1]
    (found,) = portal("inspect out --json").json["artifacts"]
    assert set(found["layers_by_module"].values()) == {LAYERS}


def test_a_port_says_how_far_it_is_and_is_the_same_without_the_base(
    world: Path, port: str, portal: Portal
) -> None:
    printed = portal(f"{port} --no-base")

    assert "port: 1/1 runs" in printed.err
    assert "frozen base" not in printed.out + printed.err
    assert runs_by_method(Path("out")) == {"portal": runs_by_method(world / "ported")["portal"]}
    with_base, without = (load_file(out / "artifact" / WEIGHTS) for out in (world / "ported", Path("out")))
    assert all(torch.equal(with_base[name], without[name]) for name in with_base.keys() | without.keys())


def test_joint_training_scores_every_base_of_its_own_in_folders_without_faults(
    world: Path, portal: Portal
) -> None:
    source = f"train --source tiny-qwen3,tiny-llama --data '{world}/data' --out '{world}/source'"

    lines = [cells[:2] for cells in portal(f"{source} --rank 2 --examples 8 --epochs 1").cells[1:5]]

    assert lines == [[base, what] for base in ("tiny-qwen3", "tiny-llama") for what in ("frozen", "adapter")]
    for name in ("source", "ported"):
        portal(f"sweep fsck '{world}/{name}'")


def test_an_output_folder_with_an_artifact_of_ones_own_is_refused(port: str, portal: Portal) -> None:
    Path("out/artifact").mkdir(parents=True)

    refusal = portal(port, code=2).err
    assert "not a link of an earlier run; choose another --out" in refusal
    assert not Path("out/runs").exists()
