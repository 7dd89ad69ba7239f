"""Bases whose layers are not all alike say what is adapted where."""

import pytest

from portal.bases.coverage import check_coverage, count_layers, cover, coverage_note
from portal.modules import ALL_MODULES
from tests.support.bases import make_base
from tests.support.zoo import tiny_base


def test_a_base_with_all_modules_in_all_layers_needs_no_note() -> None:
    layout = make_base("tiny", "qwen3")

    assert coverage_note("tiny", layout, ("q", "v")) is None
    assert coverage_note("tiny", layout, ALL_MODULES) is None
    check_coverage("tiny", layout, ALL_MODULES)
    assert count_layers(layout.sites) == dict.fromkeys(ALL_MODULES, 3)


def test_a_hybrid_base_says_how_many_layers_have_each_module() -> None:
    layout = tiny_base("qwen3_5_text")

    note = coverage_note("hybrid", layout, ("q", "v"))

    assert note == (
        "base hybrid: q and v of 4 layers are adapted as q in 2 and in_qkv for q in 2, "
        "v in 2 and in_qkv for v in 2"
    )
    assert [each.is_full for each in cover(layout, ("q", "v", "in_z"))] == [True, True, False]
    with pytest.raises(ValueError, match=r"base 'hybrid': coverage full .* of 4 layers it has in_z in 2"):
        check_coverage("hybrid", layout, ("q", "in_z"))
    check_coverage("hybrid", layout, ("q", "v", "up"))


def test_all_modules_of_a_base_without_gates_are_those_that_it_has() -> None:
    note = coverage_note("gpt2", tiny_base("gpt2"), ALL_MODULES)

    assert note is not None
    assert note.startswith("base gpt2: all modules of 4 layers are adapted as qkv for q in 4, qkv for k in 4")
    assert "gate in none, up in 4, down in 4" in note


def test_full_coverage_counts_layers_not_parts() -> None:
    layout = tiny_base("nemotron_h")  # a state-space layer, attention, a mixture, a feed-forward

    (each,) = cover(layout, ("qkv",))

    assert each.stand_ins == (("q", 1), ("k", 1), ("v", 1), ("in_proj", 1))
    assert each.covered == 2
    assert not each.is_full
