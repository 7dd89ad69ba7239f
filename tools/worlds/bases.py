"""`python -m tools.worlds.bases [BASE...]`: rebuilds tokenizers and bases from nothing but this code."""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from portal.embedded import FOLDER
from tools.worlds.ledger import corpus as ledger
from tools.worlds.mini import corpus as mini
from tools.worlds.pretrain import Blueprint, DrawDocuments, Recipe, gemma_shape, hybrid_shape, rebuild_base
from tools.worlds.village import corpus as village

CORPORA: dict[str, DrawDocuments] = {
    "mini": mini.draw_documents,
    "village": village.draw_documents,
    "ledger": ledger.draw_documents,
}
"""By world, the text that its bases read."""


def _qwen_shape(hidden_size: int, layers: int, head_dim: int, intermediate_size: int) -> dict[str, int]:
    return {
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "head_dim": head_dim,
        "intermediate_size": intermediate_size,
    }


_S, _M = _qwen_shape(96, 4, 32, 256), _qwen_shape(128, 6, 32, 352)
BLUEPRINTS = (
    Blueprint("village-qwen3.5", "qwen3_5", hybrid_shape(112, 6, 256), 3072, Recipe(steps=7000)),
    Blueprint("village-qwen3-m", "qwen3", _M, 3072, Recipe(steps=7000)),
    Blueprint("village-gemma3", "gemma3", gemma_shape(112, 5, 320, window=24), 3328, Recipe(steps=7000)),
    Blueprint("village-qwen3-s", "qwen3", _S, 3072, Recipe(steps=9000)),
    Blueprint("village-qwen3-xs", "qwen3", _qwen_shape(72, 3, 24, 224), 3072, Recipe(steps=12000)),
    Blueprint("mini-qwen3-m", "qwen3", _M, 1400, Recipe(steps=4500)),
    Blueprint("mini-gemma3", "gemma3", gemma_shape(112, 5, 320, window=16), 1536, Recipe(steps=3500)),
    Blueprint("mini-qwen3-s", "qwen3", _S, 1400, Recipe(steps=4000)),
    Blueprint("mini-qwen3-xs", "qwen3", _qwen_shape(64, 3, 16, 192), 1400, Recipe(steps=8000)),
    Blueprint("ledger-gemma3", "gemma3", gemma_shape(96, 4, 256, window=24), 1536, Recipe(steps=3500)),
    Blueprint("ledger-qwen3-s", "qwen3", _S, 1408, Recipe(steps=3500)),
    Blueprint("ledger-qwen3-xs", "qwen3", _qwen_shape(64, 3, 24, 192), 1408, Recipe(steps=6000)),
)
"""Those of a world from the slowest to the fastest, so that two cores end together."""


def folder_of(base: str) -> Path:
    """The folder of an embedded base."""
    return FOLDER / world_of(base) / "bases" / base


def world_of(base: str) -> str:
    """The world that the base's text is about."""
    return base.partition("-")[0]


def rebuild(blueprint: Blueprint, out: Path | None) -> str:
    """Rebuild a base in its own folder, or below `out`; returns a line that says where."""
    folder = folder_of(blueprint.name).parent if out is None else out
    return rebuild_base(blueprint, CORPORA[world_of(blueprint.name)], folder)


def main() -> None:
    names = [blueprint.name for blueprint in BLUEPRINTS]
    parser = argparse.ArgumentParser(description="Rebuild embedded tokenizers and bases.")
    parser.add_argument("bases", nargs="*", metavar="BASE", help=f"of {', '.join(names)}; all without one")
    parser.add_argument("--out", type=Path, help="folder that receives one folder per base")
    parser.add_argument("--jobs", type=int, default=2, help="bases trained side by side, one core each")
    arguments = parser.parse_args()
    chosen = [each for each in BLUEPRINTS if each.name in (arguments.bases or names)]
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for line in pool.map(rebuild, chosen, [arguments.out] * len(chosen)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
