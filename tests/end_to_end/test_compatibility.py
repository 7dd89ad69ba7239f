"""What earlier versions wrote (tests/fixtures) is resumed, reported, exported and checked by this one."""

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_files import core_sha256, read_record
from portal.bases.base import load_base
from portal.bases.registry import MINI_FOLDER
from portal.cli import main
from portal.config import RunConfig
from portal.evaluate.tasks import check_adapter
from portal.results import PREDICTIONS, RESULTS, read_table
from portal.storage.paths import file_sha256
from sweeps.launch.driver import run_study
from sweeps.results.snapshot import collect
from sweeps.store.fsck import check_folder
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study, load_study
from sweeps.study.manifest import read_manifest
from tests.support.earlier_version import EARLIER_VERSION, FIXTURES
from tests.support.rounding import rounding_digest
from tests.support.studies import silent

PINNED = {
    name: json.loads((FIXTURES / "keys" / f"{name}.json").read_text()) for name in ("demo-eleven", "real-cpu")
}
SOURCE = "dee880c96ae2ab97"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EARLIER_VERSION / "out", tmp_path / "out"))


@pytest.fixture
def study() -> Study:
    return load_study(EARLIER_VERSION / "study.yaml")


@pytest.mark.parametrize("name", PINNED)
def test_a_recorded_config_still_has_its_key(name: str) -> None:
    found = {key: RunConfig.model_validate(config).key for key, config in PINNED[name].items()}

    assert found == {key: key for key in PINNED[name]}


def test_the_eleven_tasks_of_mini_still_stand_for_the_same_runs() -> None:
    assert {run.key for run in load_study("demo-eleven").runs} == set(PINNED["demo-eleven"])


def test_an_interrupted_pack_resumes_to_the_numbers_of_an_unbroken_one(out: Path, study: Study) -> None:
    torch.set_num_threads(1)

    outcome = run_study(study, out, executor="local", console=silent())

    assert (outcome.is_done, outcome.done, outcome.trained) == (True, 13, 2)
    check_core_of_ports(out, study)
    rounding = rounding_digest(MINI_FOLDER / "mini-qwen3-s")
    if rounding != (EARLIER_VERSION / "expected" / "rounding.txt").read_text().strip():
        pytest.skip("this processor rounds otherwise than the one that the fixture was made on")
    folder = collect(study.manifest, out)
    for name, schema in (("results.parquet", RESULTS), ("predictions.parquet", PREDICTIONS)):
        found, expected = (
            read_table(folder / name, schema),
            read_table(EARLIER_VERSION / "expected" / name, schema),
        )
        written = pq.read_schema(EARLIER_VERSION / "expected" / name).names  # without columns added since
        assert without_times(found.select(written)).equals(without_times(expected.select(written)))
    assert weights(out, study) == json.loads((EARLIER_VERSION / "expected" / "weights.json").read_text())


def test_its_runs_are_counted_and_it_has_no_fault(out: Path) -> None:
    assert StudyStatus.read(RunStore(out), read_manifest(out).runs).counts == {
        "total": 13,
        "done": 11,
        "running": 0,
        "failed": 0,
        "paused": 0,
        "stopped": 0,
        "missing": 2,
    }
    assert check_folder(out)[0] == []


def test_it_is_reported(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(out)]) == 0

    page = (out / "report" / "index.html").read_text()
    assert "2 missing" in page
    assert "mini-qwen3-s" in page


def test_tables_without_their_runs_are_reported(tmp_path: Path) -> None:
    shutil.copytree(EARLIER_VERSION / "out" / "results", tmp_path / "results")

    assert main(["report", str(tmp_path)]) == 0
    assert (tmp_path / "report" / "index.html").is_file()


def test_its_artifact_exports_the_same_adapter(tmp_path: Path) -> None:
    artifact = Artifact.load(EARLIER_VERSION / "out" / "runs" / SOURCE / "artifact" / "mini-qwen3-xs")

    artifact.export_peft("counting", tmp_path / "adapter")

    name = "adapter_model.safetensors"
    found, expected = load_file(tmp_path / "adapter" / name), load_file(EARLIER_VERSION / "adapter" / name)
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=0, atol=1e-6)


def test_its_adapter_belongs_to_its_base() -> None:
    check_adapter(load_base("mini-qwen3-xs"), EARLIER_VERSION / "adapter")


def test_its_artifact_is_ported(tmp_path: Path) -> None:
    artifact = EARLIER_VERSION / "out" / "runs" / SOURCE / "artifact" / "mini-qwen3-xs"
    command = ["port", str(artifact), "--to", "mini-qwen3-s", "--examples", "4", "--epochs", "1"]

    assert main([*command, "--tasks", "counting", "--out", str(tmp_path / "ported")]) == 0
    assert (tmp_path / "ported" / "artifact" / "config.json").is_file()


def check_core_of_ports(out: Path, study: Study) -> None:
    """The ports that were resumed record the core of their sources, which have no record."""
    ports = [run for run in study.runs if run.method == "portal"]
    assert len(ports) == 2
    for run in ports:
        record = read_record(out / "runs" / run.key / "artifact")
        source = out / "runs" / str(run.source) / "artifact" / "mini-qwen3-xs"
        assert record is not None
        assert read_record(source) is None
        assert record.core_sha256 == core_sha256(Artifact.load(source).tensors)
        assert record.lineage.source is not None
        assert record.lineage.source.run == run.source
        assert record.lineage.source.weights_sha256 == file_sha256(source / "model.safetensors")


def without_times(table: pa.Table) -> pa.Table:
    return table.drop_columns(["wall_s"]) if "wall_s" in table.column_names else table


def weights(out: Path, study: Study) -> dict[str, str]:
    return {
        f"{path.relative_to(out)} {name}": hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]
        for key in sorted(study.by_key)
        for path in sorted(RunStore(out).run_folder(key).rglob("*.safetensors"))
        for name, tensor in sorted(load_file(path).items())
    }
