"""The config of an artifact: its projection targets, its bytes, and which format it needs."""

import json
from pathlib import Path

import pytest

from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_config import ArtifactConfig, needed_format
from portal.config import AdapterConfig
from portal.storage.atomic import json_bytes
from tests.support.artifacts import write_artifact
from tests.support.bases import make_base

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

    assert json_bytes(config.model_dump(mode="json")) == path.read_bytes()


def test_an_artifact_has_format_2_only_where_a_tensor_has_no_place_in_format_1(
    config: ArtifactConfig,
) -> None:
    shared = list(config.shapes)

    assert needed_format(config, shared) == 1
    assert needed_format(config, [*shared, "residual.sums.q"]) == 2
    assert needed_format(config, [*shared, "core.C.q.weight"]) == 2
