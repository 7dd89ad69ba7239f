"""Adapters as `portal export` writes them for a server, and what this project computes with them."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from portal.artifacts.artifact import Artifact
from portal.bases.base import Base, load_base
from portal.cli import main
from portal.config import AdapterConfig
from portal.data.suites import load_suite
from portal.data.token_rows import TokenRow, encode_examples
from portal.evaluate.loglikelihood import score_rows
from portal.forward.adapter_hooks import adapted
from portal.generation.decoder import Request
from portal.generation.generate import generate
from tests.support.artifacts import write_artifact

ADAPTER = AdapterConfig(rank=4, alpha=512, modules=("q", "k", "v", "o", "gate", "up", "down"))
"""So strong that random factors change log-likelihoods by more than a tenth of a nat."""
NEW_TOKENS = 24


@dataclass(frozen=True)
class Served:
    """A base, an artifact with random weights, and the folder of its adapters."""

    base: Base
    artifact: Artifact
    folder: Path
    command: str  # that serves them, as `portal export` has printed it
    rows: Sequence[TokenRow]

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.artifact.config.tasks

    def scores(self, task: str | None) -> list[list[float]]:
        """The log-likelihood of every choice of every row, in nats."""
        if task is None:
            return [list(item.scores) for item in score_rows(self.base, self.rows)]
        with adapted(self.base, self.artifact.factors((task,)), self.artifact.config.adapter.scaling):
            return [list(item.scores) for item in score_rows(self.base, self.rows)]

    def texts(self) -> dict[tuple[str | None, int], tuple[int, ...]]:
        """The tokens of the greedy answer to every row's prompt, by task (None: the base) and row."""
        pairs = [(task, index) for task in (None, *self.tasks) for index in range(len(self.rows))]
        requests = [
            Request(self.rows[index].prompt, None if task is None else self.tasks.index(task), NEW_TOKENS)
            for task, index in pairs
        ]
        factors, scaling = self.artifact.factors(self.tasks), self.artifact.config.adapter.scaling
        answers = dict(generate(self.base, requests, factors, scaling))
        return {pair: answers[number].tokens for number, pair in enumerate(pairs)}


def export_for(server: str, name: str, folder: Path, *, adapter: AdapterConfig = ADAPTER) -> Served:
    """An artifact for the base of that name, exported with the command's own printing of how to serve it."""
    base = load_base(name)
    (folder / "artifact").mkdir(parents=True)
    write_artifact(folder / "artifact", base, adapter, spread=30)
    arguments = ["export", str(folder / "artifact"), "--all", "--serve", server, "--out"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([*arguments, str(folder / "adapters")]) == 0
    command = printed.getvalue().splitlines()[-1].removeprefix("serve: ")
    suite = load_suite("mini")
    examples = [(example, "test") for task in suite.tasks[:3] for example in suite.examples(task, "test")[:3]]
    rows = encode_examples(examples, base.tokenizer, max_prompt=256)
    artifact = Artifact.load(folder / "artifact")
    return Served(base, artifact, folder / "adapters", command, rows)
