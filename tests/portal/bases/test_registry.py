"""Published configs of known bases give the models that the hub has, without asking it."""

import re
from pathlib import Path

import pytest
import torch

from portal.bases import registry
from portal.bases.family import base_sites, model_class, outline_config
from portal.bases.registry import known_bases, published_config
from portal.bases.sites import find_layer_path, find_sites

PARAMETERS = {  # as the hub counts them in the published weights; where that was not found, what shapes give
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-235b-a22b": 235_093_634_560,
    "qwen3.5-0.8b": 873_438_784,
    "qwen3.5-4b": 4_659_865_088,
    "qwen3.5-9b": 9_653_104_368,
    "gemma-3-270m-hub": 268_098_176,
    "gemma-3-1b": 999_885_952,
    "gemma-3-4b": 4_300_079_472,
    "gemma-4-e2b": 5_123_178_051,
    "gemma-4-e4b": 7_996_156_490,
    "smollm2-135m-hub": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm3-3b": 3_075_098_624,
    "llama-3.2-1b": 1_235_814_400,
    "llama-4-scout": 108_641_793_536,
    "mistral-7b": 7_248_023_552,
    "ministral-3-3b": 3_849_090_048,
    "ministral-3-8b": 8_918_026_240,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "olmo-3-7b": 7_298_011_136,
    "granite-4.0-micro": 3_402_836_480,
    "granite-4.0-h-micro": 3_191_396_096,
    "granite-4.0-h-tiny": 6_939_037_248,
    "phi-4-mini": 3_836_021_760,
    "lfm2-1.2b": 1_170_340_608,
}
NOT_LOADED = {  # published parameters that transformers leaves out of the language model
    # the vision tower, and a layer that predicts one token more
    "qwen3.5-0.8b": 100_592_896 + 20_452_864,
    "qwen3.5-4b": 333_514_240 + 120_599_552,
    "qwen3.5-9b": 456_010_480 + 243_290_624,
    # k and v of layers that take them from others, their norms, and a factor per layer that is no parameter
    "gemma-4-e2b": 16 * (2 * 1536 * 256 + 256) + 4 * (2 * 1536 * 512 + 512) + 35,
    "llama-4-scout": 871_932_416,  # the vision tower and its projector
    "gemma-4-e4b": 15 * (2 * 2560 * 512 + 256) + 3 * (2 * 2560 * 1024 + 512) + 42,
}


def test_every_base_of_the_hub_has_its_shapes_here_and_each_config_its_base() -> None:
    hub = {name for name, known in known_bases().items() if known.revision is not None}

    assert set(PARAMETERS) == hub
    assert {path.stem for path in registry._CONFIGS.iterdir()} == hub
    assert published_config("Qwen/Qwen3-4B") == published_config("qwen3-4b") is not None
    assert published_config("smollm2-135m") == published_config("smollm2-135m-hub") is not None
    assert published_config("mini-qwen3-xs") is published_config("someone/else") is None


def test_a_model_of_these_shapes_has_the_published_parameters_and_the_sites_of_the_table() -> None:
    for name, published in PARAMETERS.items():
        config = outline_config(name)
        with torch.device("meta"):
            model = model_class(config).from_config(config)

        weights = {id(parameter): parameter.numel() for parameter in model.parameters()}
        assert sum(weights.values()) + NOT_LOADED.get(name, 0) == published, name
        assert base_sites(name) == find_sites(model, find_layer_path(model)), name


def test_a_folder_named_like_a_hub_id_is_not_taken_for_it(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Qwen" / "Qwen3-4B").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    assert published_config("Qwen/Qwen3-4B") is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("{location: org/x, revision: main}", "revision: String should match pattern"),
        ("{location: org/x, licens: MIT}", "licens: unknown key; did you mean 'licence'?"),
        ("{revision: null}", "location: Field required"),
    ],
)
def test_a_mistake_in_the_table_is_one_line_with_its_file(
    values: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "known.yaml").write_text(f"mine: {values}\n")
    monkeypatch.setattr(registry, "_TABLE", tmp_path / "known.yaml")

    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'known.yaml'}: {message}")):
        known_bases.__wrapped__()
