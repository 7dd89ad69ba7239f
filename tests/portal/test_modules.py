"""What is adapted in a layer follows what was asked for and what the layer has."""

import pytest

from portal.config import AdapterConfig
from portal.modules import ALL_MODULES, MODULES, PROJECTIONS, adapted_in


@pytest.mark.parametrize(
    ("available", "asked", "expected"),
    [
        (ALL_MODULES, ("v", "q"), [("v", "v"), ("q", "q")]),
        (("qkv", "o"), ("q", "v"), [("qkv", "q")]),
        (("qkv", "o"), ("v", "q"), [("qkv", "v")]),
        (("q_b", "q_a", "kv_b", "kv_a", "o"), ("q", "v"), [("q_b", "q"), ("kv_b", "v")]),
        (("in_qkv", "in_z", "out_proj"), ("q", "v", "o"), [("in_qkv", "q"), ("out_proj", "o")]),
        (("in_proj",), ("q", "v"), [("in_proj", "q")]),
        (("q", "k", "v", "in_proj"), ("q", "v"), [("q", "q"), ("v", "v")]),
        (("gate", "up", "down"), ("gate_up",), [("gate", "gate_up"), ("up", "gate_up")]),
        (("gate_up", "down"), ("gate", "up"), [("gate_up", "gate")]),
        (("q_b", "q_a", "kv_b", "kv_a"), ("q", "k", "v"), [("q_b", "q"), ("kv_b", "k")]),
        (("up", "down"), ("gate",), []),
        (("qkv",), ("in_z",), []),
    ],
)
def test_a_module_is_adapted_itself_or_by_what_stands_in(
    available: tuple[str, ...], asked: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    assert adapted_in(available, asked) == expected


def test_every_module_can_be_asked_for_and_no_path_is_two_modules() -> None:
    assert AdapterConfig(modules=MODULES).modules == MODULES
    paths = [path for projection in PROJECTIONS.values() for path in projection.paths]
    assert len(paths) == len(set(paths))
    assert all(set(projection.parts) <= set(ALL_MODULES) for projection in PROJECTIONS.values())
