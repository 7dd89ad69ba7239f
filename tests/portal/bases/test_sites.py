"""Adapted linears are found by exact path and grouped by width.

Bases whose layers are not all alike say what is adapted where.
"""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from portal.bases.base import Base
from portal.bases.sites import (
    MODULE_PATHS,
    Site,
    SiteGroup,
    check_coverage,
    check_modules,
    check_rank,
    count_layers,
    cover,
    coverage_note,
    find_layer_path,
    find_sites,
    group_sites,
    linear_weight,
    name_modules,
)
from portal.modules import ALL_MODULES, PROJECTIONS
from tests.support.bases import make_base, make_model
from tests.support.zoo import tiny_base


class Nested(nn.Module):
    """A wrapper with its decoder at another path, as multimodal checkpoints have."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.language_model = nn.Module()
        self.language_model.model = nn.Module()
        self.language_model.model.layers = layers


def site(module: str, layer: int, d_in: int, d_out: int) -> Site:
    return Site(layer, module, f"layers.{layer}.{PROJECTIONS[module].paths[0]}", d_in, d_out)


def test_every_family_has_seven_sites_a_layer_with_the_widths_of_their_weights_each_in_one_group(
    any_base: Base,
) -> None:
    assert len(any_base.sites) == 3 * len(MODULE_PATHS)
    for found in any_base.sites:
        linear = any_base.model.get_submodule(found.path)
        assert isinstance(linear, nn.Linear)
        assert tuple(linear.weight.shape) == (found.d_out, found.d_in)
        assert found.path == f"model.layers.{found.layer}.{MODULE_PATHS[found.module]}"
    assert len({found.path for found in any_base.sites}) == len(any_base.sites)
    groups = group_sites(any_base.sites, tuple(MODULE_PATHS))
    grouped = [(group.module, layer, group.d_in, group.d_out) for group in groups for layer in group.layers]
    assert sorted(grouped) == sorted((s.module, s.layer, s.d_in, s.d_out) for s in any_base.sites)


def test_layers_are_found_at_their_known_paths_and_models_without_linear_projections_are_refused() -> None:
    model = make_model("qwen3", hidden=24, layers=2, seed=0)
    layers = model.get_submodule("model.layers")
    nested, bare = Nested(layers), Nested(nn.ModuleList([nn.Linear(2, 2)]))

    assert find_layer_path(model) == "model.layers"
    assert find_layer_path(nested) == "language_model.model.layers"
    assert len(find_sites(nested, "language_model.model.layers")) == 14
    with pytest.raises(ValueError, match=r"Linear has no decoder layers at any of model.layers, "):
        find_layer_path(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="none of the projections that can be adapted: q, k"):
        find_sites(bare, "language_model.model.layers")

    layers[1].mlp = layers[0].mlp  # what two layers share is no site
    assert {found.module for found in find_sites(model, "model.layers")} == {"q", "k", "v", "o"}
    layers[1].self_attn.q_proj = nn.Identity()
    with pytest.raises(ValueError, match=r"model.layers.1.self_attn.q_proj is a Identity, not a linear"):
        find_sites(model, "model.layers")


def test_equal_layers_make_one_group_a_module_and_others_have_groups_and_names_of_their_own() -> None:
    assert group_sites(make_base("tiny", "llama").sites, ("v", "q")) == (
        SiteGroup("v", 24, 24, "v", "v", (0, 1, 2), "v", "self_attn.v_proj"),
        SiteGroup("q", 24, 48, "q", "q", (0, 1, 2), "q", "self_attn.q_proj"),
    )
    widths = (("q", 0, 8, 8), ("q", 1, 8, 16), ("q", 2, 8, 8), ("down", 0, 32, 8), ("down", 1, 64, 8))
    assert group_sites(tuple(site(*each) for each in widths), ("q", "down")) == (
        SiteGroup("q", 8, 8, "q", "q__out_8", (0, 2), "q", "self_attn.q_proj"),
        SiteGroup("q", 8, 16, "q", "q__out_16", (1,), "q", "self_attn.q_proj"),
        SiteGroup("down", 32, 8, "down__in_32", "down", (0,), "down", "mlp.down_proj"),
        SiteGroup("down", 64, 8, "down__in_64", "down", (1,), "down", "mlp.down_proj"),
    )


def test_modules_are_named_with_the_number_of_layers_that_have_them() -> None:
    assert name_modules({"q": 4, "v": 4}, 4) == "q, v in all 4 layers"
    assert name_modules({"q": 2, "o": 4, "in_qkv": 2}, 4) == "q (in 2), o, in_qkv (in 2) of 4 layers"


def test_a_rank_above_the_narrowest_width_and_a_module_that_no_layer_has_are_refused() -> None:
    sites, fused = (site("q", 0, 8, 16), site("v", 0, 8, 4)), (site("qkv", 0, 8, 24), site("up", 0, 8, 32))

    check_rank(sites, ("q",), 8)
    check_rank(sites, ("q", "v"), 4)
    check_modules(fused, ALL_MODULES)
    check_modules(fused, ("q",))
    for refused, message in (
        (lambda: check_rank(sites, ("q",), 9), r"9 is above the width of 'q' \(16 x 8\); use at most 8"),
        (lambda: check_rank(sites, ("q", "v"), 5), "use at most 4"),
        (lambda: check_modules(fused, ("q", "gate")), "has no projection 'gate'; it has up, qkv"),
        (lambda: group_sites(sites, ("gate",)), "the base has no projection 'gate'; it has q, v"),
    ):
        with pytest.raises(ValueError, match=message):
            refused()


def test_groups_are_of_a_layers_own_modules_or_of_what_stands_in_once_for_what_is_asked_first() -> None:
    fused = (site("qkv", 0, 8, 24), site("o", 0, 8, 8), site("up", 0, 8, 32), site("down", 0, 32, 8))
    divided = tuple(site(module, 0, 8, 8) for module in ("q", "k", "v", "o"))
    two_kinds = (site("in_qkv", 0, 8, 24), site("in_z", 0, 8, 8), site("q", 1, 8, 16), site("v", 1, 8, 8))
    expected = {
        (fused, ALL_MODULES): "qkv for q in 0, o for o in 0, up for up in 0, down for down in 0",
        (divided, ("qkv",)): "q for qkv in 0, k for qkv in 0, v for qkv in 0",
        (two_kinds, ("q", "v")): "q for q in 1, in_qkv for q in 0, v for v in 1",
    }

    for (sites, modules), text in expected.items():
        groups = group_sites(sites, modules)
        assert ", ".join(f"{each.module} for {each.head} in {each.layers[0]}" for each in groups) == text
        assert {len(each.layers) for each in groups} == {1}


def test_a_transposed_layer_has_the_widths_and_weights_of_the_product() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=2, n_positions=8))

    widths = {found.module: (found.d_in, found.d_out) for found in find_sites(model, "transformer.h")}

    assert widths == {"qkv": (8, 24), "o": (8, 8), "up": (8, 32), "down": (32, 8)}
    linear = model.get_submodule("transformer.h.0.mlp.c_fc")
    x = torch.randn(3, 8)
    torch.testing.assert_close(linear(x) - linear.bias, x @ linear_weight(linear).T)


def test_bases_whose_layers_are_not_alike_say_how_many_have_each_module_and_others_need_no_note() -> None:
    alike, hybrid = make_base("tiny", "qwen3"), tiny_base("qwen3_5_text")
    for modules in (("q", "v"), ALL_MODULES):
        assert coverage_note("tiny", alike, modules) is None
    check_coverage("tiny", alike, ALL_MODULES)
    assert count_layers(alike.sites) == dict.fromkeys(ALL_MODULES, 3)

    assert coverage_note("hybrid", hybrid, ("q", "v")) == (
        "base hybrid: q and v of 4 layers are adapted as q in 2 and in_qkv for q in 2, "
        "v in 2 and in_qkv for v in 2"
    )
    assert [each.is_full for each in cover(hybrid, ("q", "v", "in_z"))] == [True, True, False]
    with pytest.raises(ValueError, match=r"base 'hybrid': coverage full .* of 4 layers it has in_z in 2"):
        check_coverage("hybrid", hybrid, ("q", "in_z"))
    check_coverage("hybrid", hybrid, ("q", "v", "up"))
    note = str(coverage_note("gpt2", tiny_base("gpt2"), ALL_MODULES))
    assert note.startswith("base gpt2: all modules of 4 layers are adapted as qkv for q in 4, qkv for k in 4")
    assert "gate in none, up in 4, down in 4" in note
    # a state-space layer, attention, a mixture, a feed-forward: layers count, not parts
    (each,) = cover(tiny_base("nemotron_h"), ("qkv",))
    assert each.stand_ins == (("q", 1), ("k", 1), ("v", 1), ("in_proj", 1))
    assert (each.covered, each.is_full) == (2, False)
