"""Published configs of known bases give the models that the hub has, without asking it."""

import re
from pathlib import Path

import pytest
import torch

from portal.bases import registry
from portal.bases.family import base_sites, model_class, outline_config
from portal.bases.registry import known_bases, published_config
from portal.bases.sites import find_layer_path, find_sites
from portal.storage.records import read_yaml

COUNTED: dict[str, dict[str, int]] = read_yaml(Path(__file__).with_name("published_parameters.yaml"))
PARAMETERS, NOT_LOADED = COUNTED["published"], COUNTED["not_loaded"]


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


def test_a_mistake_in_the_table_is_one_line_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_TABLE", tmp_path / "known.yaml")
    for values, message in {
        "{location: org/x, revision: main}": "revision: String should match pattern",
        "{location: org/x, licens: MIT}": "licens: unknown key; did you mean 'licence'?",
        "{revision: null}": "location: Field required",
    }.items():
        (tmp_path / "known.yaml").write_text(f"mine: {values}\n")
        with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'known.yaml'}: {message}")):
            known_bases.__wrapped__()
