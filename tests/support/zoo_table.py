"""`python -m tests.support.zoo_table` writes docs/families.md: what can be adapted in each family.

With the JUnit file of a run of `make zoo` it first notes, in zoo_passed.yaml, what passed there.
"""

import sys
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

import torch
import transformers
import yaml

from portal.bases.family import attention_implementation, takes_branches
from portal.bases.sites import count_layers, find_layer_path, find_sites
from portal.modules import ALL_MODULES
from tests.support.zoo import LAYERS, left_out, rewritten_by_peft, supported, tiny_model

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
PASSED = Path(__file__).with_name("zoo_passed.yaml")
_HEAD = """\
# Families of bases

What can be adapted in each family of causal language models that transformers {version} has. The page is
made by `python -m tests.support.zoo_table` from a tiny random model of each family, {layers} layers deep.
`make zoo` tries each of them: scores against a forward for each choice alone, gradients against peft's
adapter and against merged weights, two training steps, a port from a Llama-like source, that port resumed,
its export in peft, and answers written for many adapters at once.
{passed}
What the names mean is in [bases.md](bases.md#families); `portal bases BASE` says it of one base.

"all" are q, k, v, o, gate, up and down in every layer. A number behind a module is that of the layers that
have it, where not all of the {layers} do. Families in italics score one choice in a row, others all choices
of a question. With an asterisk, peft was tried on attention alone: it takes the names of the feed-forward for
those of routed experts.

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
    name = family if packed and not eager else f"*{family}*"
    return modules, f"{name}\\*" if model.config.model_type in rewritten_by_peft() else name


@dataclass(frozen=True)
class Passed:
    """A run of `make zoo` in which nothing failed: its day, version of transformers, and tests by family."""

    day: str
    transformers: str
    tests: dict[str, int]

    @classmethod
    def read(cls) -> "Passed":
        return cls(**yaml.safe_load(PASSED.read_text()))

    @classmethod
    def of_run(cls, junit: Path) -> "Passed":
        """What the JUnit file of a run says; ValueError where a test failed, or a family was not tried."""
        tests: Counter[str] = Counter()
        tried = supported()
        for case in ElementTree.parse(junit).iter("testcase"):
            name = case.attrib["name"]
            if any(case.find(outcome) is not None for outcome in ("failure", "error", "skipped")):
                raise ValueError(f"{junit}: {name} did not pass")
            own = name.partition("[")[2].rstrip("]")
            named = [family for family in tried if f"{own}-".startswith(f"{family}-")]
            tests.update(sorted(named, key=len)[-1:])
        if missing := set(tried) - set(tests):
            raise ValueError(f"{junit}: these families were not tried: {sorted(missing)}")
        return cls(date.today().isoformat(), transformers.__version__, dict(sorted(tests.items())))

    def write(self) -> None:
        PASSED.write_text(yaml.safe_dump(asdict(self), sort_keys=False))

    def sentence(self) -> str:
        """What the page says of the run."""
        return (
            f"On {self.day} all {sum(self.tests.values()):,} tests of {len(self.tests)} families passed, "
            f"with transformers {self.transformers}."
        )


def page() -> str:
    """The whole page."""
    described = sorted((describe(family) for family in supported()), key=_most_modules)
    rows = [
        f"| {modules} | {', '.join(name for _, name in own)} |"
        for modules, own in groupby(described, key=lambda pair: pair[0])
    ]
    reasons: dict[str, list[str]] = {}
    for family, reason in left_out().items():
        reasons.setdefault(reason, []).append(family)
    left = [f"| {reason} | {', '.join(families)} |" for reason, families in reasons.items()]
    head = _HEAD.format(version=transformers.__version__, layers=LAYERS, passed=Passed.read().sentence())
    return "\n".join([head + "\n".join(rows), _LEFT_OUT + "\n".join(left), ""])


def _most_modules(pair: tuple[str, str]) -> tuple[bool, str, str]:
    modules, name = pair
    return modules != "all", modules, name.strip("*\\")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        Passed.of_run(Path(argument)).write()
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE}\n")
