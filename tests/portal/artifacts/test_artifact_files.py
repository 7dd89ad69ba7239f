"""The config of an artifact: its projection targets, its bytes, and which format it needs.

portal.json: what it records, what it protects, and which versions of it are read. Files of an artifact from
elsewhere: anything damaged or foreign is one line of refusal.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from portal.answers import AnswerConfig
from portal.artifacts.artifact import Artifact, save_more_tasks
from portal.artifacts.artifact_files import RECORD, ArtifactConfig, core_sha256, read_config, read_record
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base
from portal.bases.sites import group_sites
from portal.config import AdapterConfig, BaseRef
from portal.modules import ALL_MODULES
from portal.storage.atomic import json_bytes
from portal.storage.paths import file_sha256
from tests.support.artifacts import change_config, change_tensors, refusal, write_artifact
from tests.support.bases import TASKS, make_base, make_run
from tests.support.packs import make_pack, run_to_end
from tests.support.zoo import tiny_base

RUNS = Path(__file__).parents[2] / "fixtures" / "ea55e6a" / "folder" / "interrupted" / "runs"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ArtifactConfig:
    folder = tmp_path_factory.mktemp("artifact")
    write_artifact(folder, make_base("tiny", "qwen3"), AdapterConfig(rank=2, alpha=6))
    return Artifact.load(folder).config


def test_a_config_of_format_1_is_written_as_commit_ea55e6a_wrote_it() -> None:
    paths = sorted(RUNS.glob("*/artifact/**/config.json"))

    assert len(paths) == 4
    for path in paths:
        config = ArtifactConfig.model_validate(json.loads(path.read_bytes()))
        assert json_bytes(config.as_json()) == path.read_bytes()


@pytest.mark.parametrize("family", ["gpt2", "dory"])
def test_layers_unlike_llamas_need_format_2_and_come_back_from_it(family: str, tmp_path: Path) -> None:
    base = tiny_base(family)
    write_artifact(tmp_path, base, AdapterConfig(modules=ALL_MODULES, rank=2, alpha=4))

    config = read_config(tmp_path / "config.json")

    assert config.format_version == 2
    assert config.adapter.modules == ALL_MODULES
    assert config.groups == group_sites(base.sites, ALL_MODULES)
    assert (config.core_modules, config.namesakes) == (
        (ALL_MODULES, ()) if family == "gpt2" else ((), ("self_attn.gate_proj",))
    )
    with pytest.raises(ValidationError, match="needs format_version 2"):
        ArtifactConfig.model_validate(config.as_json() | {"format_version": 1})
    first = config.as_json()["projection_targets"][0] | {"core_module": "in_z"}
    with pytest.raises(ValidationError, match="no heads for 'in_z'"):
        ArtifactConfig.model_validate(config.as_json() | {"projection_targets": [first]})


def test_every_projection_target_has_its_path_and_format_2_of_earlier_versions_no_residuals(
    config: ArtifactConfig,
) -> None:
    for site in make_base("tiny", "qwen3").sites:
        if site.module in ("q", "v"):
            assert config.path(site.module, site.layer) == site.path
    assert len(config.projection_targets) == 6
    with pytest.raises(KeyError):
        config.path("gate", 0)

    values = config.as_json() | {"residual_rank": 0, "residual_tasks": [], "format_version": 2}
    read = ArtifactConfig.model_validate(values)
    assert (read.core_modules, read.namesakes, read.groups) == ((), (), config.groups)
    with pytest.raises(ValidationError, match=r"residual_rank 1 is no longer there; commit ea55e6a"):
        ArtifactConfig.model_validate(values | {"residual_rank": 1, "residual_tasks": list(config.tasks)})


def change_record(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / RECORD).read_bytes())
    (folder / RECORD).write_text(json.dumps(raw | changes))


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


SWAPPED, RENAMED = [TASKS[1], TASKS[0], TASKS[2]], [*TASKS[:2], "primes"]
EDITS = {  # changes of the config, a tensor that is shifted, whether the record's digests are edited, too
    "a value": ({"alpha": 7}, None, False, "config.json: edited or damaged since portal.json was written"),
    "a hub tool's key": ({"_commit_hash": "abc"}, None, False, "config.json: edited or damaged since"),
    "weights": ({}, "task_latents", False, "model.safetensors: edited or damaged"),
    "order of tasks": ({"tasks": SWAPPED}, None, True, f"task {TASKS[1]!r} has another latent than"),
    "a name": ({"tasks": RENAMED}, None, True, "portal.json records tasks colours, names, sums, the"),
    "core": ({}, "core.l1.bias", True, "the core is another than portal.json says"),
}


def test_what_is_edited_is_refused_though_the_digests_are_edited_too(saved: Path, tmp_path: Path) -> None:
    for edit, (changes, shifted, edits_digests, message) in EDITS.items():
        folder = Path(shutil.copytree(saved, tmp_path / edit))
        if changes:
            change_config(folder, **changes)
        if shifted is not None:
            tensor = load_file(folder / "model.safetensors")[shifted]
            change_tensors(folder, **{shifted: tensor + 1e-6})
        if edits_digests:
            names = ("config.json", "model.safetensors")
            change_record(folder, files={name: file_sha256(folder / name) for name in names})
        found = refusal(folder)
        assert message in found
        assert edits_digests or found.endswith("restore it, or make the artifact anew")


def test_a_record_that_is_damaged_or_newer_is_refused_unless_it_allows_that_and_need_not_be_there(
    artifact: Path,
) -> None:
    raw = json.loads((artifact / RECORD).read_bytes())
    tasks = {task: {**each, "written": True} for task, each in raw["tasks"].items()}

    change_record(artifact, signature="x")
    assert "not the record of an artifact (signature: unknown key; known: " in refusal(artifact)
    change_record(artifact, record_version=3, oldest_reader=2)
    assert "record_version 3, this version of portal reads 1; update" in refusal(artifact)
    change_record(artifact, oldest_reader=1, tasks=tasks)
    assert Artifact.load(artifact).config.tasks == TASKS
    for content in (b"", b"[]", b"null", b'{"record_version": "two"}', b"\xff"):
        (artifact / RECORD).write_bytes(content)
        assert str(artifact / RECORD) in refusal(artifact)
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


@pytest.fixture
def bare(artifact: Path) -> Path:
    """A copy without a record of digests, as portallib and older versions write it."""
    (artifact / RECORD).unlink()
    return artifact


def test_a_file_that_is_missing_or_was_cut_short_is_refused_by_name(bare: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        data = (bare / name).read_bytes()
        for kept in (0.0, 0.001, 0.4, 0.9, 0.9999):
            (bare / name).write_bytes(data[: int(kept * len(data.rstrip()))])
            refusal(bare)
        (bare / name).unlink()
        assert name in refusal(bare)
        (bare / name).write_bytes(data)
    with pytest.raises(ValueError, match="no such artifact folder"):
        Artifact.load(bare / "nowhere")


@pytest.mark.parametrize(
    ("name", "every", "least"), [("model.safetensors", 5, 0.8), ("config.json", 11, 0.0)]
)
def test_a_flipped_bit_in_the_config_or_the_weights_header_is_refused_or_harmless(
    bare: Path, saved: Path, name: str, every: int, least: float
) -> None:
    intact, data, refused = Artifact.load(saved).tensors, (saved / name).read_bytes(), list[str]()
    is_weights = name == "model.safetensors"
    positions = range(0, 8 + int.from_bytes(data[:8], "little") if is_weights else len(data), every)

    for position in positions:
        altered = bytearray(data)
        altered[position] ^= 1 << position % 7
        (bare / name).write_bytes(altered)
        try:
            loaded = Artifact.load(bare).tensors
        except ValueError as error:
            refused.append(str(error))
        else:
            for key, tensor in intact.items() if is_weights else ():
                assert torch.equal(loaded[key], tensor), f"byte {position} altered a tensor unnoticed"

    assert len(refused) > least * len(positions)
    assert not any("\n" in message for message in refused)


def test_files_of_another_format_are_refused(bare: Path) -> None:
    config, weights = bare / "config.json", bare / "model.safetensors"
    whole = config.read_text()
    for changes, message in (
        ({"library_name": "peft"}, "library_name"),
        ({"architecture": "other"}, "architecture"),
        ({"tasks": []}, "tasks"),
        ({"n_layers": 2}, "projection target in layer 2 of 2"),
        ({"projection_targets": []}, "projection_targets"),
        ({"rank": 0}, "rank"),
    ):
        change_config(bare, **changes)
        found = refusal(bare)
        assert "not a portable artifact" in found
        assert message in found
        config.write_text(whole)
    for content in ("[]", "null", '"text"', "{}"):
        config.write_text(content)
        assert "not a portable artifact" in refusal(bare)
    config.write_text(whole)
    for metadata in (None, {"format": "pt"}):
        save_file(load_file(weights), weights, metadata=metadata)
        assert "not a portable artifact" in refusal(bare)


def test_newer_formats_and_keys_that_format_2_does_not_know_are_refused_and_those_of_hub_tools_left_alone(
    bare: Path,
) -> None:
    change_config(bare, format_version=2)
    Artifact.load(bare)
    change_config(bare, text_encoder="e5")
    assert "text_encoder is of a newer version of portal" in refusal(bare)
    change_config(bare, format_version=3)
    assert "format_version 3, this version of portal reads up to 2; update portal-sweeps" in refusal(bare)
    change_config(bare, format_version=1, _commit_hash="abc")
    assert Artifact.load(bare).config.tasks == TASKS


def test_tensors_that_do_not_fit_the_config_are_refused(bare: Path) -> None:
    values = json.loads((bare / "config.json").read_text())
    for key in ("rank", "d_z", "d_layer", "hidden", "d_core", "tasks", "n_layers"):
        value = values[key]
        change_config(bare, **{key: value[1:] if key == "tasks" else value + 1})
        assert " is expected" in refusal(bare), key
        change_config(bare, **{key: value})


def test_a_missing_misshapen_infinite_or_unknown_tensor_is_refused_by_name(bare: Path) -> None:
    for name in ("task_latents", "core.film.weight", "alignment.output.v"):
        tensor = load_file(bare / "model.safetensors")[name]
        broken = tensor.clone()
        broken.view(-1)[-1] = math.inf
        for changed, message in (
            (None, "is missing"),
            (tensor[1:].clone(), "has shape"),
            (broken, "has values that are not finite"),
        ):
            change_tensors(bare, **{name: changed})
            assert f"tensor {name} {message}" in refusal(bare)
        change_tensors(bare, **{name: tensor})
    Artifact.load(bare)
    for name in ("core.A.k.weight", "alignment.input.k", "residual.q"):
        change_tensors(bare, **{name: torch.zeros(2)})
        assert f"tensor {name} has no place" in refusal(bare)
        change_tensors(bare, **{name: None})
