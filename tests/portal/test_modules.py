"""What is adapted in a layer follows what was asked for and what the layer has."""

from portal.config import AdapterConfig
from portal.modules import ALL_MODULES, MODULES, PROJECTIONS, adapted_in


def test_a_module_is_adapted_itself_or_by_what_stands_in() -> None:
    for available, asked, expected in (
        (" ".join(ALL_MODULES), "v q", "v for v, q for q"),
        ("qkv o", "q v", "qkv for q"),
        ("qkv o", "v q", "qkv for v"),
        ("q_b q_a kv_b kv_a o", "q v", "q_b for q, kv_b for v"),
        ("in_qkv in_z out_proj", "q v o", "in_qkv for q, out_proj for o"),
        ("in_proj", "q v", "in_proj for q"),
        ("q k v in_proj", "q v", "q for q, v for v"),
        ("gate up down", "gate_up", "gate for gate_up, up for gate_up"),
        ("gate_up down", "gate up", "gate_up for gate"),
        ("q_b q_a kv_b kv_a", "q k v", "q_b for q, kv_b for k"),
        ("up down", "gate", ""),
        ("qkv", "in_z", ""),
    ):
        found = adapted_in(tuple(available.split()), tuple(asked.split()))
        assert ", ".join(f"{module} for {wanted}" for module, wanted in found) == expected


def test_every_module_can_be_asked_for_and_no_path_is_two_modules() -> None:
    assert AdapterConfig(modules=MODULES).modules == MODULES
    paths = [path for projection in PROJECTIONS.values() for path in projection.paths]
    assert len(paths) == len(set(paths))
    assert all(set(projection.parts) <= set(ALL_MODULES) for projection in PROJECTIONS.values())
