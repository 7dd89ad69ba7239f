"""The experts of a mixture: how many of a layer's parameters a token does not meet."""

from torch import nn
from transformers import PretrainedConfig

_MET = ("num_experts_per_tok", "moe_topk", "moe_top_k", "top_k_experts")
"""Names by which configs say how many experts a token meets in a layer."""


def idle_params(layers: nn.Module, config: PretrainedConfig) -> int:
    """Parameters of routed experts that a token does not meet; 0 where the config says nothing of them."""
    met = next((count for name in _MET if (count := getattr(config, name, None)) is not None), None)
    if met is None:
        return 0
    experts = [module for module in layers.modules() if type(module).__name__.endswith("Experts")]
    stacked = [weight for module in experts for weight in module.parameters(recurse=False)]
    return sum(weight.numel() * max(0, len(weight) - met) // len(weight) for weight in stacked)
