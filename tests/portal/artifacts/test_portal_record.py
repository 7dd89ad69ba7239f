"""portal.json: what it records, what it protects, and which versions of it are read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from portal.answers import AnswerConfig
from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_writer import save_more_tasks
from portal.artifacts.portal_record import RECORD, core_sha256, read_record
from portal.artifacts.run_record import RunRecord
from portal.bases.base import Base
from portal.config import BaseRef
from portal.storage.paths import file_sha256
from tests.support.artifacts import change_config, change_tensors, refusal
from tests.support.bases import TASKS, make_base, make_run
from tests.support.packs import make_pack, run_to_end


def change_record(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / RECORD).read_bytes())
    (folder / RECORD).write_text(json.dumps(raw | changes))


def record_files_anew(folder: Path) -> None:
    """What somebody does who edits the digests, too."""
    names = ("config.json", "model.safetensors")
    change_record(folder, files={name: file_sha256(folder / name) for name in names})


def test_a_port_has_the_core_of_its_source_and_says_where_it_comes_from(
    bases: dict[str, Base], source: Path, tmp_path: Path
) -> None:
    run = make_run("portal", "target", seed=3)
    pack = make_pack(bases, [run], source)
    run_to_end(pack)
    versions = {"portal-sweeps": "7.0"}
    made = RunRecord(run.key, run.model_dump(mode="json"), versions=versions, epochs=dict.fromkeys(TASKS, 2))

    pack.learners[0].save_artifact(tmp_path, made)

    record, origin = read_record(tmp_path), read_record(source)
    assert record is not None
    assert origin is not None
    assert record.core_sha256 == origin.core_sha256 == core_sha256(load_file(source / "model.safetensors"))
    tasks = {task: (each.calibrated, each.kind, each.epoch) for task, each in record.tasks.items()}
    assert tasks == dict.fromkeys(TASKS, (True, "choice", 2))
    assert [each.latent_sha256 for each in record.tasks.values()] == [
        origin.tasks[task].latent_sha256 for task in record.tasks
    ]
    lineage = record.lineage
    assert (lineage.run, lineage.method, lineage.seed) == (run.key, "portal", 3)
    assert lineage.base == BaseRef(name="target", revision="digest-target")
    assert lineage.versions == versions
    assert lineage.source is not None
    assert lineage.source.run == origin.lineage.run == make_run("source", "small").key
    assert lineage.source.weights_sha256 == file_sha256(source / "model.safetensors")
    assert lineage.source.core_sha256 == record.core_sha256
    assert origin.lineage.source is None


def test_another_name_shape_or_value_is_another_core(saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    core = core_sha256(tensors)

    assert core_sha256(dict(reversed(tensors.items()))) == core
    assert core_sha256({**tensors, "task_latents": torch.zeros(1)}) == core
    name = "core.l1.bias"
    renamed = {("core.l9.bias" if key == name else key): value for key, value in tensors.items()}
    assert core_sha256(renamed) != core
    assert core_sha256({**tensors, name: tensors[name][None]}) != core
    assert core_sha256({**tensors, name: tensors[name] + 1e-6}) != core


@pytest.mark.parametrize(
    "change", [{"alpha": 7}, {"tasks": [*reversed(TASKS)]}, {"_commit_hash": "abc"}], ids=str
)
def test_an_edited_config_is_refused_with_a_remedy(artifact: Path, change: dict[str, Any]) -> None:
    change_config(artifact, **change)

    message = refusal(artifact)

    assert message.startswith(f"{artifact / 'config.json'}: edited or damaged since portal.json was written")
    assert message.endswith("restore it, or make the artifact anew")


def test_edited_weights_are_refused(artifact: Path) -> None:
    latents = load_file(artifact / "model.safetensors")["task_latents"]
    change_tensors(artifact, task_latents=latents + 1e-6)

    assert f"{artifact / 'model.safetensors'}: edited or damaged" in refusal(artifact)


def test_names_that_are_swapped_are_refused_though_the_digests_are_edited_too(artifact: Path) -> None:
    change_config(artifact, tasks=[TASKS[1], TASKS[0], TASKS[2]])
    record_files_anew(artifact)

    assert f"task {TASKS[1]!r} has another latent than portal.json says" in refusal(artifact)


def test_a_task_that_is_renamed_is_refused_though_the_digests_are_edited_too(artifact: Path) -> None:
    change_config(artifact, tasks=[*TASKS[:2], "primes"])
    record_files_anew(artifact)

    assert (
        "portal.json records tasks colours, names, sums, the artifact has colours, primes, sums"
        in refusal(artifact)
    )


def test_another_core_is_refused_though_the_digests_are_edited_too(artifact: Path) -> None:
    bias = load_file(artifact / "model.safetensors")["core.l1.bias"]
    change_tensors(artifact, **{"core.l1.bias": bias + 1})
    record_files_anew(artifact)

    assert "the core is another than portal.json says" in refusal(artifact)


def test_a_record_that_needs_a_newer_reader_is_refused_by_name(artifact: Path) -> None:
    change_record(artifact, record_version=3, oldest_reader=2)

    assert "portal.json: record_version 3, this version of portal reads 1; update" in refusal(artifact)


def test_unknown_keys_of_a_newer_record_are_passed_over_where_it_allows_that(artifact: Path) -> None:
    raw = json.loads((artifact / RECORD).read_bytes())
    tasks = {task: {**each, "written": True} for task, each in raw["tasks"].items()}

    change_record(artifact, record_version=3, oldest_reader=1, tasks=tasks, signature="x")

    assert Artifact.load(artifact).config.tasks == TASKS


def test_an_unknown_key_of_a_known_version_is_refused_by_name(artifact: Path) -> None:
    change_record(artifact, signature="x")

    assert "not the record of an artifact: signature: unknown key" in refusal(artifact)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"record_version": "two"}', b"\xff"])
def test_a_damaged_record_is_refused(artifact: Path, content: bytes) -> None:
    (artifact / RECORD).write_bytes(content)

    assert str(artifact / RECORD) in refusal(artifact)


def test_an_artifact_without_a_record_loads_as_before(artifact: Path) -> None:
    (artifact / RECORD).unlink()

    assert Artifact.load(artifact).record is None


def test_what_is_said_of_a_tasks_rows_is_of_the_run_that_fitted_its_latent(
    saved: Path, tmp_path: Path
) -> None:
    start = Artifact.load(saved)
    base = make_base("tiny", "qwen3")
    data = {"tasks": ("new",), "answers": {"new": AnswerConfig()}}
    for method, tested in (("taught", False), ("described", None)):
        record = RunRecord.of(make_run(method, base.name, data=data))
        latents = {"new": torch.ones(start.config.d_z)}
        save_more_tasks(tmp_path / method, start, latents, source=start.as_source(), base=base, record=record)

        taught = Artifact.load(tmp_path / method)

        assert (taught.task_records["new"].kind, taught.task_records["new"].tested) == ("written", tested)
        assert taught.task_records["sums"] == start.task_records["sums"]
        assert start.with_latents_of(taught).task_records["new"] == taught.task_records["new"]
