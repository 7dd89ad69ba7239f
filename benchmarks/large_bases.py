"""`python -m benchmarks.large_bases`: how large bases lie on the GPUs of a node, by their configs.

No weights are read and nothing is run.
"""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from portal.bases.family import check_checkpoint, outline_config
from portal.config import Precision
from sweeps.planning.devices import GPUS
from sweeps.planning.memory import base_bytes, decoder_shape, fullest_part
from sweeps.planning.plan_table import least_gpus

DEVICE, ON_NODE = "b200", 8
PRECISIONS: tuple[Precision, ...] = ("default", "8bit", "4bit")
"""Those that quantise are left out for a base that is published quantised."""
ROOM = 0.7
"""Share of a GPU's memory that weights may take: the rest is for learners, activations and logits."""
BASES = ("qwen3-32b", "llama-4-scout", "gpt-oss-120b", "qwen3-235b-a22b")
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


def rows(name: str) -> Iterator[tuple[str, ...]]:
    """The lines of a base, one for each precision, on as few GPUs as leave room beside its weights."""
    shape = decoder_shape(name)
    method = check_checkpoint(name, outline_config(name))
    for precision in PRECISIONS if method is None else PRECISIONS[:1]:
        count = least_gpus(name, precision, ROOM * GPUS[DEVICE].memory_bytes)
        assert count is not None, f"{name} in {precision} does not fit a node"
        part = fullest_part(name, precision, on_gpu=True, num_gpus=count)
        whole = "bf16" if method is None else f"bf16, from {method.upper()}"
        yield (
            name,
            f"{shape.params / 1e9:.0f} B, {shape.active_params / 1e9:.1f} B",
            whole if precision == "default" else precision,
            f"{base_bytes(name, precision, on_gpu=True) / _GIB:.0f} GiB",
            str(count),
            f"{part.num_bytes / _GIB:.0f} GiB",
            str(ON_NODE // count),
        )


def main() -> None:
    """Print the table of docs/bases.md."""
    table = Table(*HEADERS)
    for name in BASES:
        for row in rows(name):
            table.add_row(*row)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
