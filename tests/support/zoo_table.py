"""`python -m tests.support.zoo_table` writes docs/families.md: what can be adapted in each family."""

import sys
from itertools import groupby
from pathlib import Path

import torch

from portal.bases.coverage import count_layers
from portal.bases.layer_kinds import attention_implementation, takes_branches
from portal.bases.sites import find_layer_path, find_sites
from portal.modules import ALL_MODULES
from tests.support.zoo import LAYERS, left_out, supported, tiny_model

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
_HEAD = """\
# Families of bases

What can be adapted in each family of causal language models that transformers {version} has. The page is
made by `python -m tests.support.zoo_table` from a tiny random model of each family, {layers} layers deep.
`make zoo` tries each of them: scores against a forward for each choice alone, gradients against peft's
adapter and against merged weights, two training steps, a port from a Llama-like source, that port resumed,
and its export in peft. What the names mean is in [bases.md](bases.md#families); `portal bases BASE` says it
of one base.

"all" are q, k, v, o, gate, up and down in every layer. A number behind a module is that of the layers that
have it, where not all of the {layers} do. Families in italics score one choice in a row, others all choices
of a question.

| modules | families |
|:--|:--|
"""
_LEFT_OUT = """
## Left out

| why | families |
|:--|:--|
"""


def describe(family: str) -> tuple[str, str]:
    """The modules of a family, and its name as the table has it."""
    with torch.device("meta"):
        model = tiny_model(family)
    sites = find_sites(model, find_layer_path(model))
    counts = count_layers(sites)
    depth = len(model.get_submodule(find_layer_path(model)))
    if counts == dict.fromkeys(ALL_MODULES, depth):
        modules = "all"
    else:
        modules = ", ".join(name if n == depth else f"{name} {n}" for name, n in counts.items())
    packed = takes_branches(model.config.get_text_config())
    eager = attention_implementation(model.config) == "eager"
    return modules, family if packed and not eager else f"*{family}*"


def page() -> str:
    """The whole page."""
    import transformers

    described = sorted((describe(family) for family in supported()), key=_most_modules)
    rows = [
        f"| {modules} | {', '.join(name for _, name in own)} |"
        for modules, own in groupby(described, key=lambda pair: pair[0])
    ]
    reasons: dict[str, list[str]] = {}
    for family, reason in left_out().items():
        reasons.setdefault(reason, []).append(family)
    left = [f"| {reason} | {', '.join(families)} |" for reason, families in reasons.items()]
    head = _HEAD.format(version=transformers.__version__, layers=LAYERS)
    return "\n".join([head + "\n".join(rows), _LEFT_OUT + "\n".join(left), ""])


def _most_modules(pair: tuple[str, str]) -> tuple[bool, str, str]:
    modules, name = pair
    return modules != "all", modules, name.strip("*")


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE}\n")
