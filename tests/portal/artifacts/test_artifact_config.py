"""The config of an artifact: its projection targets, its bytes, and which format it needs."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_config import ArtifactConfig
from portal.artifacts.artifact_files import read_config
from portal.bases.sites import group_sites
from portal.config import AdapterConfig
from portal.modules import ALL_MODULES
from portal.storage.atomic import json_bytes
from tests.support.artifacts import write_artifact
from tests.support.bases import make_base
from tests.support.zoo import tiny_base

RUNS = Path(__file__).parents[2] / "fixtures" / "v0.1.0" / "out" / "runs"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ArtifactConfig:
    folder = tmp_path_factory.mktemp("artifact")
    write_artifact(folder, make_base("tiny", "qwen3"), AdapterConfig(rank=2, alpha=6))
    return Artifact.load(folder).config


def test_every_projection_target_is_written_with_its_path_in_the_base(config: ArtifactConfig) -> None:
    base = make_base("tiny", "qwen3")

    for site in base.sites:
        if site.module in ("q", "v"):
            assert config.path(site.module, site.layer) == site.path
    assert len(config.projection_targets) == 6
    with pytest.raises(KeyError):
        config.path("gate", 0)


@pytest.mark.parametrize(
    "path", sorted(RUNS.glob("*/artifact/**/config.json")), ids=lambda path: path.parts[-3]
)
def test_a_config_of_format_1_is_written_as_the_first_version_wrote_it(path: Path) -> None:
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


def test_format_2_of_earlier_versions_has_keys_of_residuals_of_which_there_must_be_none(
    config: ArtifactConfig,
) -> None:
    values = config.as_json() | {"residual_rank": 0, "residual_tasks": [], "format_version": 2}

    read = ArtifactConfig.model_validate(values)

    with pytest.raises(ValidationError, match=r"residual_rank 1 is no longer there; commit ea55e6a"):
        ArtifactConfig.model_validate(values | {"residual_rank": 1, "residual_tasks": list(config.tasks)})

    assert (read.core_modules, read.namesakes) == ((), ())
    assert read.groups == config.groups
