"""`portal sweep`: what is left, run by run; finished runs are kept, failures listed, runs left out."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from portal.bases.registry import MINI_FOLDER, known_bases
from portal.cli import main
from sweeps.launch.single_run import run_local
from sweeps.store.lease import acquire
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import RunRequests
from sweeps.study.expand import load_study
from sweeps.study.manifest import record_manifest
from sweeps.worker.job import log_path
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


def test_a_finished_study_is_not_run_again_and_ends_in_tables_and_a_report(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    loaded = load_study(study)
    runs = loaded.runs
    for method in ("base", "lora"):
        run_local([run for run in runs if run.method == method], loaded.suite, out, Console(quiet=True))

    assert main(["sweep", "run", study, "--out", str(out), "--json"]) == 0
    ended = json.loads(capsys.readouterr().out)
    assert main(["report", str(out)]) == 0

    assert (ended["total"], ended["done"], ended["trained"]) == (3, 3, 0)
    assert pq.read_table(out / "results" / "results.parquet").num_rows > 0
    assert (out / "results" / "predictions.parquet").is_file()
    page = out / "report" / "index.html"
    assert str(page) in capsys.readouterr().out
    assert "PorTAL: small" in page.read_text()
    assert (out / "report" / "tables.md").is_file()


def test_parts_by_seed_add_up_to_the_whole_study(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    command = ["sweep", "run", study, "--out", str(out), "--executor", "local", "--json"]
    counts, tables = [], []
    for part in (["--seed", "0"], ["--seed", "1"], []):
        assert main([*command, *part]) == 0
        ended = json.loads(capsys.readouterr().out)
        counts.append((ended["total"], ended["trained"]))
        tables.append(set(pq.read_table(out / "results" / "results.parquet")["seed"].to_pylist()))

    assert counts == [(2, 2), (2, 1), (3, 0)]
    assert tables == [{None, 0}, {None, 1}, {None, 0, 1}]
    for seed in (0, 1):
        kept = pq.read_table(out / f"results-seed-{seed}" / "results.parquet")
        assert set(kept["seed"].to_pylist()) == {None, seed}
        assert (out / f"results-seed-{seed}" / "study.json").is_file()
    assert not (out / "results-seed-").exists()
    assert main(["sweep", "fsck", str(out)]) == 0
    (out / "results-seed-1" / "results.parquet").write_bytes(b"no table")
    assert main(["sweep", "fsck", str(out)]) == 3
    assert main([*command, "--seed", "7"]) == 2
    assert "no run of seed 7" in capsys.readouterr().err


def test_tables_of_fewer_runs_than_are_done_are_collected_anew(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    loaded = load_study(study)
    runs = loaded.runs
    run_local([run for run in runs if run.method == "base"], loaded.suite, out, Console(quiet=True))
    assert main(["sweep", "collect", study, "--out", str(out)]) == 0
    run_local([run for run in runs if run.method == "lora"], loaded.suite, out, Console(quiet=True))
    results = out / "results" / "results.parquet"
    before = set(pq.read_table(results)["run"].to_pylist())

    assert main(["sweep", "run", study, "--out", str(out)]) == 0
    after = set(pq.read_table(results)["run"].to_pylist())
    written = results.stat().st_mtime_ns
    assert main(["sweep", "run", study, "--out", str(out)]) == 0

    assert len(before) == 1
    assert after == {run.key for run in runs}
    assert results.stat().st_mtime_ns == written


def test_a_launch_says_that_its_runs_lie_in_the_folder_above(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, shared = write_study(world, tmp_path), tmp_path / "shared"
    loaded = load_study(study)
    record_manifest(shared, loaded.manifest)
    out = shared / loaded.name
    for run in loaded.runs:
        RunStore(out).mark_failed(run.key, "the loss of task 'sums' is nan", log_path(out, 0))

    assert main(["sweep", "run", study, "--out", str(out)]) == 3
    first = capsys.readouterr().err.splitlines()[0]
    assert first == (
        f"portal: runs of study 'small' lie in {shared}, the earlier default; --out {shared} continues them"
    )
    record_manifest(out, loaded.manifest)
    assert main(["sweep", "run", study, "--out", str(out)]) == 3
    assert "the earlier default" not in capsys.readouterr().err


def test_two_studies_in_a_folder_are_each_reported_from_tables_of_their_own(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    other = tmp_path / "other.yaml"
    other.write_text(Path(study).read_text().replace("name: small", "name: other"))
    page = out / "report" / "index.html"
    for path, place in ((study, out / "results"), (str(other), out / "results" / "other")):
        command = ["sweep", "run", path, "--out", str(out), "--executor", "local", "--json"]
        assert main(command) == 0
        assert (place / "results.parquet").is_file()
        assert main(["sweep", "collect", path, "--out", str(out), "--json"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["results"] == str(
            place / "results.parquet"
        )
        assert main(["sweep", "status", path, "--out", str(out)]) == 0

    for named, shown in (([], "small"), (["--study", "other"], "other"), (["--study", "small"], "small")):
        assert main(["report", str(out), *named]) == 0
        assert f"PorTAL: {shown}" in page.read_text()
    assert main(["sweep", "fsck", str(out)]) == 0


def test_runs_that_failed_are_listed_with_cause_and_log(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(world, tmp_path), tmp_path / "out"
    store = RunStore(out)
    for run in load_study(study).runs:
        store.mark_failed(run.key, "the loss of task 'sums' is nan", log_path(store.out, 0))

    code = main(["sweep", "run", study, "--out", str(out)])

    assert code == 3
    printed = capsys.readouterr().err
    assert "3 of 3 runs" in printed
    assert printed.count("the loss of task 'sums' is nan") == 3
    assert printed.count("lane-0.log") == 3


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--budget", "5"], "--budget and --price go together"),
        (["--budget", "5", "--price", "2"], "a budget without --alert is told to nobody"),
        (["--alert", "ftp://here"], "ftp:// is neither http:// nor https://"),
    ],
)
def test_alerts_that_cannot_be_sent_are_refused_before_anything_starts(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], fault: str
) -> None:
    study = write_study(world, tmp_path)

    assert main(["sweep", "run", study, "--out", str(tmp_path / "out"), *options]) == 2
    assert fault in only_line(capsys)
    assert not (tmp_path / "out").exists()


def test_status_in_a_folder_where_the_study_never_ran_is_all_missing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(world, tmp_path)
    (tmp_path / "out").mkdir()

    assert main(["sweep", "status", study, "--out", str(tmp_path / "out"), "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)
    assert counts == {
        "total": 3,
        "done": 0,
        "running": 0,
        "failed": 0,
        "paused": 0,
        "stopped": 0,
        "missing": 3,
    }


@pytest.fixture
def study(world: Path, tmp_path: Path) -> str:
    return write_study(world, tmp_path)


@pytest.fixture
def out(study: str, tmp_path: Path) -> Path:
    """An output folder in which the study has been launched, and nothing is finished."""
    record_manifest(tmp_path / "out", load_study(study).manifest)
    return tmp_path / "out"


def key_of(study: str, method: str) -> str:
    return next(run.key for run in load_study(study).runs if run.method == method)


def counts_of(study: str, out: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    capsys.readouterr()
    assert main(["sweep", "status", study, "--out", str(out), "--json"]) == 0
    counts: dict[str, int] = json.loads(capsys.readouterr().out)
    return counts


def test_without_a_driver_runs_are_left_out_at_once(
    study: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora, base = key_of(study, "lora"), key_of(study, "base")

    assert main(["sweep", "pause", str(out), lora]) == 0
    assert f"no launch trains {lora} until `portal sweep retry` lets them go on" in capsys.readouterr().out
    assert main(["sweep", "stop", str(out), base]) == 0

    counts = counts_of(study, out, capsys)
    assert (counts["paused"], counts["stopped"], counts["failed"], counts["missing"]) == (1, 1, 0, 1)
    assert RunRequests(out).asked() == {}
    assert main(["sweep", "status", study, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "1 paused, 1 stopped" in told
    assert f"({lora}): paused as asked, before its next step" in told
    assert main(["sweep", "plan", study, "--out", str(out), "--runs"]) == 0
    told = capsys.readouterr().out
    assert "0 done, 0 failed, 1 missing, 2 paused or stopped" in told
    listed = {key: [line for line in told.splitlines() if key in line] for key in (lora, base)}
    assert [line.split().count("paused") for line in listed[lora]] == [1]
    assert [line.split().count("stopped") for line in listed[base]] == [1]


def test_a_driver_at_work_is_asked(study: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lora, base = key_of(study, "lora"), key_of(study, "base")
    RunStore(out).mark_failed(base, "a loss was not finite", out / "logs" / "lane-0.log")

    with acquire(out):
        assert main(["sweep", "pause", str(out), lora]) == 0
        assert f"the driver at work here is asked to pause {lora}" in capsys.readouterr().out
        assert main(["sweep", "retry", study, "--failed", "--out", str(out), "--alert", "cat"]) == 0
        told = capsys.readouterr()
        assert "1 to be tried again by the next launch of study 'small'" in told.out
        assert "--alert is for a launch; the driver at work here" in told.err
        assert RunRequests(out).asked() == {lora: "pause", base: "retry"}

    assert not RunStore(out).is_finished(lora)


@pytest.mark.parametrize("command", ["pause", "stop"])
def test_a_run_that_is_not_here_or_has_ended_is_one_line(
    study: str, out: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = key_of(study, "lora")
    RunStore(out).mark_failed(lora, "a loss was not finite", out / "logs" / "lane-0.log")

    assert main(["sweep", command, str(out), "0" * 16]) == 2
    assert "missing; launch the study again to write it anew" in only_line(capsys)
    assert main(["sweep", command, str(out), lora]) == 2
    assert only_line(capsys) == f"portal: run '{lora}' has ended: a loss was not finite"
    assert RunRequests(out).asked() == {}
