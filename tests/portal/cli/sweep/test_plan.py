"""`portal sweep plan`: what is left of a study, run by run, also where there is no network."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from portal.bases.registry import MINI_FOLDER, known_bases
from portal.cli import main
from sweeps.study.expand import load_study
from tests.support.command_line import only_line, write_study
from tests.support.counts import nightly


def test_plan_prints_every_missing_run(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(world, tmp_path)

    assert main(["sweep", "plan", study, "--out", str(tmp_path / "out"), "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["missing"] == 3


def test_every_run_is_listed_with_label_base_size_seed_state_and_key(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), str(tmp_path / "out")
    keys = {(run.method, run.seed): run.key for run in load_study(study).runs}

    assert main(["sweep", "plan", study, "--out", out, "--runs"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:5]]
    assert main(["sweep", "plan", study, "--out", out, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)["runs"]

    assert lines == [
        ["label", "base", "size", "seed", "state", "key"],
        ["base", "tiny-qwen3", "-", "-", "missing", keys["base", None]],
        ["lora", "tiny-qwen3", "4", "0", "missing", keys["lora", 0]],
        ["lora", "tiny-qwen3", "4", "1", "missing", keys["lora", 1]],
    ]
    assert records[1] == {
        "run": keys["lora", 0],
        "label": "lora",
        "method": "lora",
        "bases": ["tiny-qwen3"],
        "size": 4,
        "seed": 0,
        "calibrated": None,
        "state": "missing",
    }


def test_a_plan_of_one_seed_has_its_runs_and_those_without_a_seed(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "plan", write_study(world, tmp_path), "--out", str(tmp_path / "out"), "--json"]

    assert main([*command, "--seed", "1"]) == 0
    assert [run["seed"] for run in json.loads(capsys.readouterr().out)["runs"]] == [None, 1]
    assert main([*command, "--seed", "2"]) == 2
    assert "no run of seed 2" in only_line(capsys)


@pytest.mark.slow
def test_a_study_of_known_bases_is_planned_without_a_network(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    study = Path(write_study(world, tmp_path))
    study.write_text(study.read_text().replace("[tiny-qwen3]", "[tiny-qwen3, qwen3-4b, gemma-3-4b]"))
    command = ["sweep", "plan", str(study), "--out", str(tmp_path / "out"), "--device", "b200"]

    assert main(command) == 0
    captured = capsys.readouterr()
    assert main([*command, "--json"]) == 0

    assert "not checked, no network: the tokenizers of qwen3-4b, gemma-3-4b" in captured.err
    planned = json.loads(capsys.readouterr().out)
    assert planned["tokenizers_not_checked"] == ["qwen3-4b", "gemma-3-4b"]
    assert {base for pack in planned["packs"] for base in pack["bases"]} == {
        "tiny-qwen3",
        "qwen3-4b",
        "gemma-3-4b",
    }


def test_a_run_still_refuses_what_a_plan_could_not_check(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    study = Path(write_study(world, tmp_path))
    study.write_text(study.read_text().replace("[tiny-qwen3]", "[qwen3-4b]"))

    assert main(["sweep", "run", str(study), "--out", str(tmp_path / "out"), "--executor", "local"]) == 2

    assert "base 'qwen3-4b': cannot be read from 'Qwen/Qwen3-4B'" in only_line(capsys)
    assert not list((tmp_path / "out").glob("runs/*/DONE.json"))


@pytest.mark.slow
def test_a_tokenizer_in_the_hubs_cache_is_checked_without_a_network(tmp_path: Path) -> None:
    known = known_bases()["qwen3-4b"]
    cached = tmp_path / "home" / "hub" / f"models--{known.location.replace('/', '--')}" / "snapshots"
    (cached / str(known.revision)).mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(MINI_FOLDER / "mini-qwen3-xs" / name, cached / str(known.revision) / name)
    study = tmp_path / "study.yaml"
    study.write_text("name: s\ntasks: [counting]\ntargets: [qwen3-4b]\nseeds: [0]\nmethods: {base: {}}\n")
    command = [sys.executable, "-m", "portal", "sweep", "plan", str(study), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}

    ended = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["tokenizers_not_checked"] == []


def test_a_plan_says_once_what_a_hybrid_base_has_in_place_of_what_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(
        "name: s\nsuite: village\ntasks: [source-5]\ntargets: [village-qwen3.5, village-qwen3-m]\n"
        "seeds: [0, 1]\nmethods: {lora: {size: 4, adapter: {modules: [q, v], rank: 2}}}\n"
    )
    note = (
        "base village-qwen3.5: q and v of 6 layers are adapted as q in 2 and in_qkv for q in 4, "
        "v in 2 and in_qkv for v in 4"
    )

    assert main(["sweep", "plan", str(study), "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["sweep", "plan", str(study), "--out", str(tmp_path / "out"), "--json"]) == 0

    assert [line for line in lines if "are adapted as" in line] == [note]
    assert json.loads(capsys.readouterr().out)["coverage"] == [note]


OUTLINED = """\
name: s
suite: portal14
tasks: [rte, hellaswag]
targets: [qwen3-0.6b]
seeds: [0]
methods: {base: {}, lora: {size: 1500}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("hub", [{"HF_HUB_OFFLINE": "1"}, *nightly({"HF_ENDPOINT": "http://127.0.0.1:9"})])
def test_a_study_whose_public_rows_are_out_of_reach_is_planned_without_keys_and_not_run(
    hub: dict[str, str], tmp_path: Path
) -> None:
    offline = partial(sweep_without_hub, tmp_path, hub)
    study = tmp_path / "study.yaml"
    study.write_text(OUTLINED)
    out = str(tmp_path / "out")

    planned = offline("plan", str(study), "--out", out, "--device", "b200", "--runs")
    as_json = offline("plan", str(study), "--out", out, "--device", "b200", "--json")
    run = offline("run", str(study), "--out", out, "--executor", "local")

    assert planned.returncode == 0, planned.stderr
    assert "the rows of public benchmarks are not at hand: they are counted from the known" in planned.stderr
    lines = [line.split() for line in planned.stdout.splitlines()]
    assert ["lora", "qwen3-0.6b", "1500", "0", "missing", "-"] in lines
    found = json.loads(as_json.stdout)
    assert found["rows_at_hand"] is False
    assert {record["run"] for record in found["runs"]} == {None}
    assert {pack["pack"] for pack in found["packs"]} == {None}
    assert all(pack["hours"] > 0 for pack in found["packs"])
    assert run.returncode == 2
    assert "cannot be read" in run.stderr
    assert not list((tmp_path / "out").glob("runs/*"))


def sweep_without_hub(folder: Path, hub: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of `portal sweep` where the hub does not answer and nothing of it is on the machine."""
    kept = {name: value for name, value in os.environ.items() if name != "PORTAL_DATA"}
    environment = kept | {"HF_HOME": str(folder / "home"), "no_proxy": "127.0.0.1", **hub}
    command = [sys.executable, "-m", "portal", "sweep", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_plan_on_a_cpu_is_of_the_lanes_that_a_launch_has(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {0, 1})
    command = ["sweep", "plan", write_study(world, tmp_path), "--out", str(tmp_path / "out")]
    command += ["--device", "cpu"]

    assert main([*command, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert main([*command, "--price", "10"]) == 0
    shown = capsys.readouterr().out
    assert main([*command, "--count", "2"]) == 0
    on_two = capsys.readouterr().out

    assert (planned["lanes"], planned["device"]["name"]) == (2, "1/2 of this CPU (2 cores)")
    assert planned["hours"] / 2 < planned["makespan_hours"] < planned["hours"]
    assert "predicted for 1/2 of this CPU (2 cores), one worker: " in shown
    assert "on 1 device, 2 workers on each: " in shown
    assert f"{5 * planned['hours']:.2f} for the work" in shown
    assert "on 2 devices, 3 workers in all: " in on_two
