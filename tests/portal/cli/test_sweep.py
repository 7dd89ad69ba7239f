"""`portal sweep`: what is left, run by run; finished runs are kept, failures listed, runs left out."""

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from portal.bases.registry import MINI_FOLDER, known_bases
from sweeps.launch.single_run import run_local
from sweeps.store.lease import acquire
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import RunRequests
from sweeps.study.expand import Study, load_study
from sweeps.study.manifest import record_manifest
from sweeps.worker.job import log_path
from tests.support.command_line import Portal, in_new_process, write_study
from tests.support.counts import nightly

PLAN = "sweep plan study.yaml --out out"
RUN = "sweep run study.yaml --out out"
RESULTS = Path("out/results/results.parquet")
ALL_MISSING = {"total": 3, "done": 0, "running": 0, "failed": 0, "paused": 0, "stopped": 0, "missing": 3}


@pytest.fixture
def study(world: Path, tmp_path: Path, portal: Portal) -> Study:
    """The study of three runs that `study.yaml` describes."""
    return load_study(write_study(world, tmp_path))


def edit(old: str, new: str, path: str = "study.yaml") -> None:
    Path(path).write_text(Path("study.yaml").read_text().replace(old, new))


def train(study: Study, *methods: str) -> None:
    """Train the study's runs of these methods."""
    runs = [run for run in study.runs if run.method in methods]
    run_local(runs, study.suite, Path("out"), Console(quiet=True))


def test_every_run_is_listed_with_label_base_size_seed_state_and_key(study: Study, portal: Portal) -> None:
    keys = {(run.method, run.seed): run.key for run in study.runs}
    planned = portal(f"{PLAN} --json").json

    assert planned["missing"] == 3
    assert portal(f"{PLAN} --runs").cells[1:5] == [
        ["label", "base", "size", "seed", "state", "key"],
        ["base", "tiny-qwen3", "-", "-", "missing", keys["base", None]],
        ["lora", "tiny-qwen3", "4", "0", "missing", keys["lora", 0]],
        ["lora", "tiny-qwen3", "4", "1", "missing", keys["lora", 1]],
    ]
    assert planned["runs"][1] == {
        "run": keys["lora", 0],
        "label": "lora",
        "method": "lora",
        "bases": ["tiny-qwen3"],
        "size": 4,
        "seed": 0,
        "calibrated": None,
        "state": "missing",
    }
    one_seed = portal(f"{PLAN} --json --seed 1").json["runs"]
    assert [run["seed"] for run in one_seed] == [None, 1]
    assert "no run of seed 2" in portal.refusal(f"{PLAN} --seed 2")


@pytest.mark.slow
def test_a_study_of_known_bases_is_planned_without_a_network(
    study: Study, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "empty")
    edit("[tiny-qwen3]", "[tiny-qwen3, qwen3-4b, gemma-3-4b]")

    told = portal(f"{PLAN} --device b200").err
    planned = portal(f"{PLAN} --device b200 --json").json

    assert "not checked, no network: the tokenizers of qwen3-4b, gemma-3-4b" in told
    assert planned["tokenizers_not_checked"] == ["qwen3-4b", "gemma-3-4b"]
    bases = {base for pack in planned["packs"] for base in pack["bases"]}
    assert bases == {"tiny-qwen3", "qwen3-4b", "gemma-3-4b"}
    edit("[tiny-qwen3, qwen3-4b, gemma-3-4b]", "[qwen3-4b]")
    refusal = portal.refusal(f"{RUN} --executor local")
    assert "base 'qwen3-4b': cannot be read from 'Qwen/Qwen3-4B'" in refusal
    assert not list(Path("out").glob("runs/*/DONE.json"))


def test_a_plan_says_once_what_a_hybrid_base_has_in_place_of_what_is_asked_for(portal: Portal) -> None:
    Path("study.yaml").write_text(
        "name: s\nsuite: village\ntasks: [source-5]\ntargets: [village-qwen3.5, village-qwen3-m]\n"
        "seeds: [0, 1]\nmethods: {lora: {size: 4, adapter: {modules: [q, v], rank: 2}}}\n"
    )
    note = (
        "base village-qwen3.5: q and v of 6 layers are adapted as q in 2 and in_qkv for q in 4, "
        "v in 2 and in_qkv for v in 4"
    )

    assert [line for line in portal(PLAN).lines if "are adapted as" in line] == [note]
    assert portal(f"{PLAN} --json").json["coverage"] == [note]


@pytest.mark.slow
@pytest.mark.parametrize("hub", [{"HF_HUB_OFFLINE": "1"}, *nightly({"HF_ENDPOINT": "http://127.0.0.1:9"})])
def test_without_the_hub_public_rows_are_planned_without_keys_and_not_run_and_a_cached_tokenizer_is_checked(
    hub: dict[str, str], tmp_path: Path
) -> None:
    known = known_bases()["qwen3-4b"]
    cached = tmp_path / "home" / "hub" / f"models--{known.location.replace('/', '--')}" / "snapshots"
    (cached / str(known.revision)).mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(MINI_FOLDER / "mini-qwen3-xs" / name, cached / str(known.revision) / name)
    (tmp_path / "cached.yaml").write_text(
        "name: s\ntasks: [counting]\ntargets: [qwen3-4b]\nseeds: [0]\nmethods: {base: {}}\n"
    )
    (tmp_path / "study.yaml").write_text(
        "name: s\nsuite: portal14\ntasks: [rte, hellaswag]\ntargets: [qwen3-0.6b]\nseeds: [0]\n"
        "methods: {base: {}, lora: {size: 1500}}\n"
    )

    commands = (
        "sweep plan cached.yaml --out out --json",
        f"{PLAN} --device b200 --runs",
        f"{PLAN} --device b200 --json",
        f"{RUN} --executor local",
    )
    environment = {name: value for name, value in os.environ.items() if name != "PORTAL_DATA"}
    environment |= {"HF_HOME": str(tmp_path / "home"), "no_proxy": "127.0.0.1", **hub}
    checked, planned, as_json, run = in_new_process(
        [command.split() for command in commands], folder=tmp_path, environment=environment
    )

    assert (checked.code, checked.json["tokenizers_not_checked"]) == (0, [])
    assert planned.code == 0, planned.err
    assert "the rows of public benchmarks are not at hand: they are counted from the known" in planned.err
    assert ["lora", "qwen3-0.6b", "1500", "0", "missing", "-"] in planned.cells
    found = as_json.json
    assert found["rows_at_hand"] is False
    assert {record["run"] for record in found["runs"]} == {None}
    assert {pack["pack"] for pack in found["packs"]} == {None}
    assert all(pack["hours"] > 0 for pack in found["packs"])
    assert run.code == 2
    assert "cannot be read" in run.err
    assert not list((tmp_path / "out").glob("runs/*"))


def test_a_plan_on_a_cpu_is_of_the_lanes_that_a_launch_has(
    study: Study, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {0, 1})

    planned = portal(f"{PLAN} --device cpu --json").json
    shown = portal(f"{PLAN} --device cpu --price 10").out

    assert (planned["lanes"], planned["device"]["name"]) == (2, "1/2 of this CPU (2 cores)")
    assert planned["hours"] / 2 < planned["makespan_hours"] < planned["hours"]
    assert "predicted for 1/2 of this CPU (2 cores), one worker: " in shown
    assert "on 1 device, 2 workers on each: " in shown
    assert f"{5 * planned['hours']:.2f} for the work" in shown
    assert "on 2 devices, 3 workers in all: " in portal(f"{PLAN} --device cpu --count 2").out


def test_tables_follow_what_is_done_and_a_finished_study_is_not_run_again(
    study: Study, portal: Portal
) -> None:
    train(study, "base")
    portal("sweep collect study.yaml --out out")
    before = set(pq.read_table(RESULTS)["run"].to_pylist())
    train(study, "lora")

    ended = portal(f"{RUN} --json").json
    after = set(pq.read_table(RESULTS)["run"].to_pylist())
    written = RESULTS.stat().st_mtime_ns
    portal(RUN)

    assert (ended["total"], ended["done"], ended["trained"]) == (3, 3, 0)
    assert len(before) == 1
    assert after == {run.key for run in study.runs}
    assert RESULTS.stat().st_mtime_ns == written
    assert RESULTS.with_name("predictions.parquet").is_file()
    assert "out/report/index.html" in portal("report out").out
    assert "PorTAL: small" in Path("out/report/index.html").read_text()
    assert Path("out/report/tables.md").is_file()


def test_parts_by_seed_add_up_to_the_whole_study(study: Study, portal: Portal) -> None:
    command = f"{RUN} --executor local --json"
    counts, tables = [], []
    for part in ("--seed 0", "--seed 1", ""):
        ended = portal(f"{command} {part}").json
        counts.append((ended["total"], ended["trained"]))
        tables.append(set(pq.read_table(RESULTS)["seed"].to_pylist()))

    assert counts == [(2, 2), (2, 1), (3, 0)]
    assert tables == [{None, 0}, {None, 1}, {None, 0, 1}]
    for seed in (0, 1):
        kept = Path(f"out/results-seed-{seed}")
        assert set(pq.read_table(kept / "results.parquet")["seed"].to_pylist()) == {None, seed}
        assert (kept / "study.json").is_file()
    assert not Path("out/results-seed-").exists()
    portal("sweep fsck out")
    Path("out/results-seed-1/results.parquet").write_bytes(b"no table")
    portal("sweep fsck out", code=3)
    assert "no run of seed 7" in portal(f"{command} --seed 7", code=2).err


def test_failed_runs_are_listed_and_a_launch_says_that_its_runs_lie_in_the_folder_above(
    study: Study, portal: Portal
) -> None:
    record_manifest(Path("shared"), study.manifest)
    out = Path("shared/small")
    for run in study.runs:
        RunStore(out).mark_failed(run.key, "the loss of task 'sums' is nan", log_path(out, 0))

    told = portal("sweep run study.yaml --out shared/small", code=3).err
    assert told.splitlines()[0] == (
        "portal: runs of study 'small' lie in shared, the earlier default; --out shared continues them"
    )
    assert "3 of 3 runs" in told
    assert told.count("the loss of task 'sums' is nan") == told.count("lane-0.log") == 3
    record_manifest(out, study.manifest)
    assert "the earlier default" not in portal("sweep run study.yaml --out shared/small", code=3).err


def test_two_studies_in_a_folder_are_each_reported_from_tables_of_their_own(
    study: Study, portal: Portal
) -> None:
    edit("name: small", "name: other", "other.yaml")
    for name, place in (("study", "out/results"), ("other", "out/results/other")):
        portal(f"sweep run {name}.yaml --out out --executor local --json")
        assert Path(place, "results.parquet").is_file()
        collected = json.loads(portal(f"sweep collect {name}.yaml --out out --json").lines[-1])
        assert collected["results"] == f"{place}/results.parquet"
        portal(f"sweep status {name}.yaml --out out")

    for named, shown in (("", "small"), ("--study other", "other"), ("--study small", "small")):
        portal(f"report out {named}")
        assert f"PorTAL: {shown}" in Path("out/report/index.html").read_text()
    portal("sweep fsck out")


def test_alerts_that_cannot_be_sent_are_refused_before_anything_starts_and_all_runs_are_missing(
    study: Study, portal: Portal
) -> None:
    assert "ftp:// is neither http:// nor https://" in portal.refusal(f"{RUN} --alert ftp://here")
    assert not Path("out").exists()
    Path("out").mkdir()
    assert portal("sweep status study.yaml --out out --json").json == ALL_MISSING


@pytest.fixture
def keys(study: Study) -> tuple[str, str]:
    """A run with LoRA and that of the base, in an output folder where nothing is finished."""
    record_manifest(Path("out"), study.manifest)
    by_method = {run.method: run.key for run in study.runs}
    return by_method["lora"], by_method["base"]


def test_without_a_driver_runs_are_left_out_at_once(keys: tuple[str, str], portal: Portal) -> None:
    lora, base = keys

    told = portal(f"sweep pause out {lora}").out
    assert f"no launch trains {lora} until `portal sweep retry` lets them go on" in told
    portal(f"sweep stop out {base}")

    counts = portal("sweep status study.yaml --out out --json").json
    assert counts == {**ALL_MISSING, "paused": 1, "stopped": 1, "missing": 1}
    assert RunRequests(Path("out")).asked() == {}
    told = portal("sweep status study.yaml --out out").out
    assert "1 paused, 1 stopped" in told
    assert f"({lora}): paused as asked, before its next step" in told
    planned = portal(f"{PLAN} --runs")
    assert "0 done, 0 failed, 1 missing, 2 paused or stopped" in planned.out
    states = {cells[-1]: cells[-2] for cells in planned.cells if cells and cells[-1] in keys}
    assert states == {lora: "paused", base: "stopped"}


def test_a_driver_at_work_is_asked(keys: tuple[str, str], portal: Portal) -> None:
    lora, base = keys
    out = Path("out")
    RunStore(out).mark_failed(base, "a loss was not finite", out / "logs" / "lane-0.log")

    with acquire(out):
        asked = portal(f"sweep pause out {lora}").out
        assert f"the driver at work here is asked to pause {lora}" in asked
        told = portal("sweep retry study.yaml --failed --out out --alert cat")
        assert "1 to be tried again by the next launch of study 'small'" in told.out
        assert "--alert is for a launch; the driver at work here" in told.err
        assert RunRequests(out).asked() == {lora: "pause", base: "retry"}

    assert not RunStore(out).is_finished(lora)


def test_a_run_that_is_not_here_or_has_ended_is_one_line(keys: tuple[str, str], portal: Portal) -> None:
    lora, _ = keys
    out = Path("out")
    RunStore(out).mark_failed(lora, "a loss was not finite", out / "logs" / "lane-0.log")

    for command in ("pause", "stop"):
        unknown = portal.refusal(f"sweep {command} out {'0' * 16}")
        assert "missing; launch the study again to write it anew" in unknown
        ended = portal.refusal(f"sweep {command} out {lora}")
        assert ended == f"portal: run '{lora}' has ended: a loss was not finite"
    assert RunRequests(out).asked() == {}
