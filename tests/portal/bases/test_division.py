"""Which GPU holds which part of a base: whole layers, in order, the fullest as empty as can be."""

from itertools import product
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from portal.bases.base_config import outline_config
from portal.bases.division import divide, layer_bytes, part_bytes
from portal.bases.model_class import model_class
from portal.bases.sites import find_layer_path
from portal.config import Precision
from tests.support.zoo import tiny_config


def outline(name: str) -> Any:
    config = outline_config(name)
    with torch.device("meta"):
        return model_class(config).from_config(config)


def layers_of(places: dict[str, int], path: str) -> list[int]:
    count = sum(name.startswith(f"{path}.") for name in places)
    return [places[f"{path}.{index}"] for index in range(count)]


@pytest.mark.parametrize("name", ["qwen3-8b", "qwen3-4b", "gemma-3-4b", "ministral-3-3b", "smollm2-360m"])
@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_layers_are_whole_in_order_and_every_parameter_has_a_place(name: str, count: int) -> None:
    model = outline(name)
    path = find_layer_path(model)

    places = divide(model, count, "default", torch.bfloat16)

    order = layers_of(places, path)
    assert order == sorted(order)
    assert set(order) == set(range(count))
    for parameter, _ in model.named_parameters():
        assert sum(f"{parameter}.".startswith(f"{place}.") for place in places) == 1
    everything = sum({id(each): each.numel() for each in model.parameters()}.values())
    assert sum(part_bytes(model, places, "default", torch.bfloat16)) == 2 * everything


@pytest.mark.parametrize(("count", "precision"), [*product([2, 3, 5], ["default", "4bit"])])
def test_no_other_division_leaves_the_fullest_gpu_emptier(count: int, precision: Precision) -> None:
    model = outline("qwen3-0.6b")
    path, dtype = find_layer_path(model), torch.bfloat16
    places = divide(model, count, precision, dtype)
    fullest = max(part_bytes(model, places, precision, dtype))
    size = layer_bytes(model.get_submodule(path)[0], precision, dtype)

    layers = layers_of(places, path)
    held = part_bytes(model, places, precision, dtype)
    fixed = [own - size * layers.count(gpu) for gpu, own in enumerate(held)]

    def possible(limit: float) -> bool:
        """Whether GPUs with at most so many bytes hold all layers, each of them one at least."""
        fitting = [int((limit - own) / size + 1e-9) for own in fixed]
        return min(fitting) >= 1 and sum(fitting) >= len(layers)

    assert possible(fullest)
    assert not possible(fullest - size / 100)


def test_a_tied_head_is_with_the_embedding_and_another_with_the_last_layers() -> None:
    tied, untied = outline("qwen3-4b"), outline("qwen3-8b")

    assert divide(tied, 4, "default", torch.bfloat16)["lm_head"] == 0
    places = divide(untied, 4, "default", torch.bfloat16)
    assert (places["model.embed_tokens"], places["model.norm"], places["lm_head"]) == (0, 3, 3)


def test_4_bit_linears_make_layers_smaller_beside_an_embedding() -> None:
    model = outline("qwen3-8b")

    whole, packed = (
        part_bytes(model, divide(model, 2, held, torch.bfloat16), held, torch.bfloat16)
        for held in ("default", "4bit")
    )

    assert sum(packed) < 0.45 * sum(whole)
    assert max(packed) < 1.1 * min(packed)


@pytest.mark.parametrize("family", ["gpt2", "gpt_bigcode", "qwen3_5_text", "llama4_text", "opt", "bloom"])
def test_families_of_other_layouts_are_divided(family: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(tiny_config(family))

    places = divide(model, 2, "default", torch.bfloat16)

    for parameter, _ in model.named_parameters():
        assert sum(f"{parameter}.".startswith(f"{place}.") for place in places) == 1
    assert set(layers_of(places, find_layer_path(model))) == {0, 1}
    weights = sum({id(each): each.numel() for each in model.parameters()}.values())
    assert sum(part_bytes(model, places, "default", torch.bfloat16)) == 2 * weights


def test_layers_that_share_weights_are_refused() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(tiny_config("zamba2"))

    with pytest.raises(ValueError, match="its layers share weights, so they cannot be divided over GPUs"):
        divide(model, 2, "default", torch.bfloat16)


def test_fewer_layers_than_gpus_are_refused() -> None:
    model = outline("village-qwen3-xs")

    with pytest.raises(ValueError, match=r"^3 layers cannot be divided over 4 GPUs$"):
        divide(model, 4, "default", torch.bfloat16)
