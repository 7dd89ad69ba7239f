"""A study whose ports see rows of some tasks only, from its file to its report."""

import csv
import json
from pathlib import Path

import pytest

from analysis.stats.result_table import load_results
from portal.cli import main
from portal.config import RunConfig
from portal.results import LATENTS, LATENTS_FILE, RESULTS, RESULTS_FILE, read_table
from sweeps.study.expand import load_study
from tests.support.studies import TINY

HALVES = "portal: {size: 8, train: {epochs: 2}, curve: {sizes: [4]}, calibrate: 1}"


@pytest.fixture
def study_path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("portal: {size: 8, train: {epochs: 2}}", HALVES))
    return path


CONTROLS = """
  shared_lora: {size: 8, train: {epochs: 2, lr: 1e-3}, calibrate: 1}
  mean_latent: {curve: {sizes: [4]}}
"""


def ports(path: Path) -> list[RunConfig]:
    return [run for run in load_study(path).runs if run.method == "portal"]


def test_a_seeds_tasks_are_the_same_at_every_size_and_source_and_baselines_see_all(study_path: Path) -> None:
    drawn = {(run.seed, run.data.calibrated) for run in ports(study_path)}

    assert len(ports(study_path)) == 4
    assert len(drawn) == 2
    assert all(tasks is not None and len(tasks) == 1 for _, tasks in drawn)
    assert {run.data.calibrated for run in load_study(study_path).runs if run.method != "portal"} == {None}


def test_all_tasks_are_the_runs_of_a_study_without_the_key_and_a_variant_may_take_a_share(
    study_path: Path, tmp_path: Path
) -> None:
    text, plain, whole = study_path.read_text(), tmp_path / "plain.yaml", tmp_path / "all.yaml"
    plain.write_text(text.replace(", calibrate: 1", ""))
    whole.write_text(text.replace("calibrate: 1", "calibrate: 1.0"))
    variants = "variants:\n  half: {methods: [portal], calibrate: 0.5}\n  all: {methods: [portal]}\n"
    study_path.write_text(plain.read_text() + variants)

    study = load_study(study_path)

    assert [run.key for run in ports(whole)] == [run.key for run in ports(plain)]
    counts = {study.labels[run.key]: len(run.data.trained_tasks) for run in ports(study_path)}
    assert counts == {"portal-half": 1, "portal-all": 2}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("calibrate: 1", "calibrate: [facts]", "portal.calibrate: the study has no task 'facts'; did"),
        ("calibrate: 1", "calibrate: 3", "portal.calibrate: 3 tasks, the study has 2"),
        ("\n  lora: {", "\n  lora: {calibrate: 1, ", "lora.calibrate: method 'lora' takes no 'calib"),
        ("sizes: [4]}}\n", "sizes: [2]}}\n", "mean_latent.curve: 'portal' has no size 2 on mini-qwen3-s"),
        (
            "sizes: [4]}}\n",
            "sizes: [4], train: {epochs: 1}}}\n",
            "mean_latent.curve.train: method 'mean_latent' does not train; leave it out",
        ),
    ],
)
def test_what_cannot_be_calibrated_or_controlled_is_refused(
    study_path: Path, old: str, new: str, message: str
) -> None:
    text = study_path.read_text() + CONTROLS
    assert old in text
    study_path.write_text(text.replace(old, new))

    with pytest.raises(ValueError) as caught:
        load_study(study_path)
    assert str(caught.value).startswith(f"{study_path}: methods.{message}")


def test_a_control_on_mean_latents_takes_over_tasks_and_shape_of_the_port_of_its_size(
    study_path: Path,
) -> None:
    study_path.write_text(study_path.read_text() + CONTROLS)
    by_key = load_study(study_path).by_key

    means = [run for run in by_key.values() if run.method == "mean_latent"]

    assert sorted((run.data.size, run.seed) for run in means) == [(4, 0), (4, 1), (8, 0), (8, 1)]
    for run in means:
        port = by_key[str(run.source)]
        assert port.method == "portal"
        assert (run.seed, run.data, run.adapter) == (port.seed, port.data, port.adapter)
    assert len(ports(study_path)) == 4


@pytest.mark.slow
def test_it_is_planned_run_and_reported_with_its_controls(
    study_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = study_path.read_text().replace(
        "portal: {size: 8, train: {", "portal: {size: 8, train: {keep: best_validation, "
    )
    study_path.write_text(text + CONTROLS)
    out = tmp_path / "out"
    assert main(["sweep", "plan", str(study_path), "--out", str(out), "--json"]) == 0
    planned = {run["run"]: run["calibrated"] for run in json.loads(capsys.readouterr().out)["runs"]}
    assert main(["sweep", "run", str(study_path), "--out", str(out), "--executor", "local"]) == 0

    for run in load_results(out / "results" / RESULTS_FILE, {}, 1.0).runs:
        calibrated = planned[run.key]
        without = set() if calibrated is None else {"fact_qa", "counting"} - {*calibrated}
        assert run.without_rows == without
    rows = read_table(out / "results" / RESULTS_FILE, RESULTS).to_pylist()
    for line in rows:
        is_seen = line["method"] != "base" and (line["calibrated"] is not False)
        assert line["train_rows"] == (None if line["method"] == "base" else line["size"] if is_seen else 0)
        chose = line["method"] in ("portal", "mean_latent")  # a control is of the epoch that its port kept
        assert line["keeps_best"] is (None if line["method"] == "base" else chose)
    latents = read_table(out / "results" / LATENTS_FILE, LATENTS).to_pylist()
    sources = sorted({line["run"] for line in rows if line["method"] == "source"})
    assert [(line["run"], line["task"], len(line["latent"])) for line in latents] == [
        (run, task, 16) for run in sources for task in ("counting", "fact_qa")
    ]
    assert main(["report", str(out)]) == 0
    with (out / "report" / "tables" / "without-rows-mini-qwen3-s.csv").open() as file:
        shown = {row["method"] for row in csv.DictReader(file)}
    modules = "q,v r4"
    assert shown == {
        f"PorTAL {modules}",
        f"port with the mean latent {modules}",
        "one LoRA for all tasks all r16",
    }
    assert main(["sweep", "fsck", str(out)]) == 0
