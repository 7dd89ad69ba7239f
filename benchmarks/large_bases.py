"""`python -m benchmarks.large_bases`: how large bases lie on the GPUs of a node, by their configs.

No weights are read and nothing is run. The configs are those of the published models, as far as they decide
shapes.
"""

import tempfile
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table
from transformers import GptOssConfig, PretrainedConfig, Qwen3MoeConfig

from portal.bases.base import outline_config
from portal.config import Precision
from sweeps.planning.devices import GPUS
from sweeps.planning.divided_bases import least_gpus
from sweeps.planning.memory import base_bytes, decoder_shape, fullest_part

DEVICE, ON_NODE = "b200", 8
PRECISIONS: tuple[Precision, ...] = ("default", "8bit", "4bit")
ROOM = 0.7
"""Share of a GPU's memory that weights may take: the rest is for learners, activations and logits."""
CONFIGS: Mapping[str, PretrainedConfig] = {
    "Qwen3-32B": outline_config("qwen3-32b"),
    "Llama-4-Scout": outline_config("llama-4-scout"),
    "gpt-oss-120b": GptOssConfig(),
    "Qwen3-235B-A22B": Qwen3MoeConfig(
        hidden_size=4096,
        num_hidden_layers=94,
        num_key_value_heads=4,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=1536,
        vocab_size=151936,
        head_dim=128,
        num_attention_heads=64,
        tie_word_embeddings=False,
    ),
}
_GIB = 2**30


HEADERS = (
    "base",
    "parameters of its layers, those that a token meets",
    "precision",
    "weights",
    "GPUs of a worker",
    "on the fullest",
    "workers",
)


def rows(name: str, config: PretrainedConfig) -> Iterator[tuple[str, ...]]:
    """The lines of a base, one for each precision, on as few GPUs as leave room beside its weights."""
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        shape = decoder_shape(folder)
        for precision in PRECISIONS:
            count = least_gpus(folder, precision, ROOM * GPUS[DEVICE].memory_bytes)
            assert count is not None, f"{name} in {precision} does not fit a node"
            part = fullest_part(folder, precision, on_gpu=True, num_gpus=count)
            yield (
                name,
                f"{shape.params / 1e9:.0f} B, {shape.active_params / 1e9:.1f} B",
                "bf16" if precision == "default" else precision,
                f"{base_bytes(folder, precision, on_gpu=True) / _GIB:.0f} GiB",
                str(count),
                f"{part.num_bytes / _GIB:.0f} GiB",
                str(ON_NODE // count),
            )


def main() -> None:
    """Print the table of docs/bases.md."""
    table = Table(*HEADERS)
    for name, config in CONFIGS.items():
        for row in rows(name, config):
            table.add_row(*row)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
