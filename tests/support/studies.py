"""The smallest real study, its tables, and what tests of launches share."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from safetensors.torch import load_file

from portal.config import RunConfig
from portal.results import PREDICTIONS, RESULTS, read_table
from sweeps.results.snapshot import collect
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study, load_study

TINY = """
name: tiny
suite: mini
tasks: [fact_qa, counting]
eval_size: 4
seeds: [0, 1]
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s]
methods:
  base: {}
  lora: {size: 8, train: {epochs: 2, lr: 1e-3}, curve: {sizes: [4]}}
  source:
    size: 8
    adapter: {rank: 4, alpha: 8}
    hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}
    train: {epochs: 2}
  portal: {size: 8, train: {epochs: 2}}
"""


def load_text(folder: Path, text: str) -> Study:
    """The study of that text, which is written into `folder`."""
    path = folder / "study.yaml"
    path.write_text(text)
    return load_study(path)


class Interruption(BaseException):
    """Ends a launch on the spot, as a kill does: nothing of ours catches it and nothing is saved."""


@dataclass(frozen=True)
class Tables:
    """What a study ends in: scores without times, predictions, and the bytes of every trained tensor."""

    results: pa.Table
    predictions: pa.Table
    weights: dict[str, bytes]


def by_label(study: Study) -> dict[str, list[RunConfig]]:
    """The study's runs by their labels, in its order."""
    found: dict[str, list[RunConfig]] = {}
    for run in study.runs:
        found.setdefault(study.labels[run.key], []).append(run)
    return found


def tables_of(study: Study, out: Path) -> Tables:
    folder = collect(study.manifest, out)
    results = read_table(folder / "results.parquet", RESULTS)
    weights = {
        f"{path.relative_to(out)} {name}": tensor.numpy().tobytes()
        for key in sorted(study.by_key)
        for path in sorted(RunStore(out).run_folder(key).rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    return Tables(
        results.drop_columns(["wall_s"]), read_table(folder / "predictions.parquet", PREDICTIONS), weights
    )


def counts_of(study: Study, out: Path) -> dict[str, int]:
    """How many runs of the study in `out` are done, running, failed and missing."""
    return StudyStatus.read(RunStore(out), study.runs).counts


def silent() -> Console:
    return Console(file=Path(os.devnull).open("w"), force_terminal=False)


COMMAND = "import sys; from portal.cli.app import main; sys.exit(main())"


PATIENCE_S = 400.0


def wait_for(condition, what: str, patience_s: float = PATIENCE_S):
    """The first true value of `condition()`."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


def assert_same(found: Tables, expected: Tables) -> None:
    assert found.results.equals(expected.results)
    assert found.predictions.equals(expected.predictions)
    assert found.weights == expected.weights
