"""The linear layers that can be adapted: where families of bases have them, and what stands in for what.

Paths were read off the families of transformers 5.24. Experts that rows are routed to, routers and the output
projections of state-space layers, which fused kernels multiply by themselves, stay frozen.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

ALL_MODULES = ("q", "k", "v", "o", "gate", "up", "down")
"""The modules of a Llama-like layer. Asked for together they mean all that a base has of them."""


@dataclass(frozen=True)
class Projection:
    """A module: its paths in a decoder layer, of which a layer has one at most, and what it is made of.

    `parts` are modules of a Llama-like layer: a fused module has several, a factored one shares its own with
    the module's other factor, and one without counterpart has none.
    """

    paths: tuple[str, ...]
    parts: tuple[str, ...]


def _under(prefixes: str, *leaves: str) -> tuple[str, ...]:
    """Each leaf under each prefix."""
    return tuple(f"{prefix}.{leaf}" for prefix in prefixes.split() for leaf in leaves)


_ATTENTION = "self_attn attn attn.attention mixer temporal_block linear_attn"
_GATED = (
    "mlp feed_forward mlp_block mlp.shared_expert mlp.shared_experts mlp.shared_mlp "
    "feed_forward.shared_expert"
)
_QKV = ("q", "k", "v")

PROJECTIONS: dict[str, Projection] = {
    "q": Projection(_under(_ATTENTION, "q_proj"), ("q",)),
    "k": Projection(_under(_ATTENTION, "k_proj"), ("k",)),
    "v": Projection(_under(_ATTENTION, "v_proj"), ("v",)),
    "o": Projection(
        (
            *_under(_ATTENTION, "o_proj"),
            *_under("self_attn attn attn.attention", "out_proj"),
            *_under("self_attn attention self_attention", "dense"),
            *("attn.c_proj", "attn.Wo", "self_attn.o_b_proj"),
        ),
        ("o",),
    ),
    "gate": Projection((*_under(_GATED, "gate_proj"), "feed_forward.w1"), ("gate",)),
    "up": Projection(
        (
            *_under(f"{_GATED} ffn mixer mixer.shared_experts", "up_proj"),
            *("feed_forward.w3", "fc1"),
            *_under("mlp", "fc1", "fc_in", "c_fc", "dense_h_to_4h"),
        ),
        ("up",),
    ),
    "down": Projection(
        (
            *_under(f"{_GATED} ffn mixer mixer.shared_experts", "down_proj"),
            *("feed_forward.w2", "fc2", "shared_mlp.output_linear"),
            *_under("mlp", "fc2", "fc_out", "c_proj", "dense_4h_to_h", "Wo"),
        ),
        ("down",),
    ),
    "qkv": Projection(
        (
            *_under("self_attn attn", "qkv_proj"),
            *("attn.c_attn", "attn.Wqkv"),
            *_under("attention self_attention self_attn", "query_key_value"),
        ),
        _QKV,
    ),
    "gate_up": Projection(
        ("mlp.gate_up_proj", "mlp.Wi", "mlp.shared_experts.gate_up_proj", "shared_mlp.input_linear"),
        ("gate", "up"),
    ),
    "q_b": Projection(("self_attn.q_b_proj", "self_attn.q_gate_proj"), ("q",)),
    "q_a": Projection(("self_attn.q_a_proj",), ("q",)),
    "kv_b": Projection(("self_attn.kv_b_proj",), ("k", "v")),
    "kv_a": Projection(("self_attn.kv_a_proj_with_mqa", "self_attn.kv_proj"), ("k", "v")),
    "in_qkv": Projection(("linear_attn.in_proj_qkv", "linear_attn.in_proj_qkvz"), _QKV),
    "in_z": Projection(("linear_attn.in_proj_z",), ()),
    "in_proj": Projection((*_under("mamba mixer conv", "in_proj"), "temporal_block.linear_x"), _QKV),
    "out_proj": Projection(("linear_attn.out_proj", "conv.out_proj", "temporal_block.linear_out"), ("o",)),
}
MODULES = tuple(PROJECTIONS)


def all_of(modules: Collection[str]) -> bool:
    """Whether these mean all that a base has."""
    return set(modules) == set(ALL_MODULES)


def adapted_in(available: Collection[str], asked: Sequence[str]) -> list[tuple[str, str]]:
    """(module, head) of what is adapted in a layer that has the `available` modules when some are asked for.

    The head is the module that was asked for: a core generates the adapter with its head of that name. What
    stands in for several is adapted once, for the one that was asked for first.
    """
    heads = {module: module for module in asked if module in available}
    for module in asked:
        for other in covered_by(available, module):
            heads.setdefault(other, module)
    return sorted(heads.items(), key=lambda pair: (asked.index(pair[1]), MODULES.index(pair[0])))


def covered_by(available: Collection[str], module: str) -> list[str]:
    """What is adapted in a layer for a module: itself, or else what it is made of, if the layer has that, or
    else the first module in the table's order that holds a part of it; nothing where there is none.
    """
    if module in available:
        return [module]
    parts, in_order = PROJECTIONS[module].parts, [each for each in MODULES if each in available]
    if len(parts) > 1 and (own := [each for each in in_order if each in parts]):
        return own
    return [each for each in in_order if set(PROJECTIONS[each].parts) & set(parts)][:1]
