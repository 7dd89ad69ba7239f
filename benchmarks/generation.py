"""All factors of fourteen tasks in Qwen3-8B's geometry, against portallib: the same weights."""

import torch
from portallib.config import PortalConfig
from portallib.training import PortalAlignment, PortalCore
from transformers import AutoModelForCausalLM, Qwen3Config

from benchmarks.comparison import Comparison
from benchmarks.measure import ratio, take_turns
from portal.bases.sites import find_layer_path, find_sites, group_sites
from portal.config import AdapterConfig, HypernetConfig
from portal.hypernet import Converter, CoreDecoder, init_latents

TASKS = 14
QWEN3_8B = Qwen3Config(
    hidden_size=4096,
    num_hidden_layers=36,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    intermediate_size=12288,
    vocab_size=151936,
    tie_word_embeddings=False,
)


def generation() -> list[Comparison]:
    """Without a graph, as for scoring and export, and with one, as in training."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(QWEN3_8B)
    config, adapter = HypernetConfig(), AdapterConfig()
    generator = torch.Generator().manual_seed(0)
    latents = init_latents(TASKS, config, generator)
    core = CoreDecoder(config, adapter, generator)
    for parameter in core.parameters():
        parameter.data.add_(0.01 * torch.randn(parameter.shape, generator=generator))  # no head is zero
    groups = group_sites(find_sites(model, find_layer_path(model)), adapter.modules)
    layers = QWEN3_8B.num_hidden_layers
    converter = Converter(config, groups, num_layers=layers, zero_output=False, generator=generator)

    peer_config = PortalConfig.from_model(
        model, tasks=[str(task) for task in range(TASKS)], base_model_name_or_path="Qwen/Qwen3-8B"
    )
    peer_core, peer_converter = PortalCore(peer_config), PortalAlignment(peer_config)
    peer_core.load_state_dict(core.state_dict())
    peer_converter.load_state_dict(converter.state_dict())

    def ours() -> object:
        return converter(core, latents)

    def theirs() -> object:
        return [peer_converter(peer_core, latent) for latent in latents]

    _check_equal(converter, core, latents, peer_converter, peer_core)
    lines = []
    for mode, context in (("no graph", torch.no_grad), ("with its graph", torch.enable_grad)):
        with context():
            spent = take_turns({"ours": ours, "theirs": theirs}, repeats=7)
        lines.append(
            Comparison(
                f"factors of {TASKS} tasks, q/v r8, Qwen3-8B's geometry, {mode}",
                "portallib",
                15.0,
                ratio(spent["ours"], spent["theirs"]),
            )
        )
    return lines


@torch.no_grad()
def _check_equal(
    converter: Converter,
    core: CoreDecoder,
    latents: torch.Tensor,
    peer_converter: PortalAlignment,
    peer_core: PortalCore,
) -> None:
    ours, theirs = converter(core, latents), peer_converter(peer_core, latents[TASKS - 1])
    for group, (a, b) in ours.items():
        for place, layer in enumerate(group.layers):
            peer_a, peer_b = theirs[layer, group.module]
            torch.testing.assert_close(a[-1, place], peer_a, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(b[-1, place], peer_b, rtol=1e-4, atol=1e-5)
