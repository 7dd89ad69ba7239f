"""Published sizes of known bases give the models that the hub has, without asking it."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from portal.bases.base import base_sites, outline_config
from portal.bases.registry import KNOWN, known_geometry
from portal.bases.sites import find_layer_path, find_sites

PARAMETERS = {  # as the hub counts them in the published weights
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "gemma-3-270m-hub": 268_098_176,
    "gemma-3-1b": 999_885_952,
    "gemma-3-4b": 4_300_079_472,
    "smollm2-135m-hub": 134_515_008,
    "smollm2-360m": 361_821_120,
    "llama-3.2-1b": 1_235_814_400,
    "mistral-7b": 7_248_023_552,
}


def test_every_base_of_the_hub_has_its_sizes_here() -> None:
    hub = {name for name, known in KNOWN.items() if known.revision is not None}

    assert set(PARAMETERS) == hub
    assert all(known_geometry(name) is not None for name in hub)
    assert known_geometry("Qwen/Qwen3-4B") == known_geometry("qwen3-4b")
    assert known_geometry("mini-qwen3-xs") is None
    assert known_geometry("someone/else") is None


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_model_of_these_sizes_has_the_published_parameters_and_the_sites_of_the_table(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(outline_config(name))

    weights = {id(parameter): parameter.numel() for parameter in model.parameters()}
    assert sum(weights.values()) == PARAMETERS[name]
    assert base_sites(name) == find_sites(model, find_layer_path(model))


def test_a_folder_named_like_a_hub_id_is_not_taken_for_it(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Qwen" / "Qwen3-4B").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    assert known_geometry("Qwen/Qwen3-4B") is None
