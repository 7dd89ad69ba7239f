"""Resume is exact: every method, alone and packed, interrupted before and after everything that it does."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portal.training.pack import Pack
from sweeps.launch.driver import run_study
from sweeps.store.run_store import PackStore, RunStore
from sweeps.study.expand import Study, load_study
from sweeps.worker.pack_checkpoint import PackCheckpoint
from tests.support.counts import nightly
from tests.support.studies import Interruption, Tables, assert_same, silent, tables_of

pytestmark = pytest.mark.slow

ALL_METHODS = """
name: all-methods
suite: mini
tasks: [fact_qa, counting]
eval_size: 3
seeds: [0, 1]
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s, mini-qwen3-xs]
exclude:
  - method: [base, lora, hypernet, portal, equalised, cross_lora, random_lora, zero_lora]
    base: mini-qwen3-xs
pack_size: PACK
methods:
  base: {}
  lora: {size: 6, adapter: {rank: 2}, train: {epochs: 4, lr: 1e-3, batch_size: 2}}
  hypernet:
    size: 6
    adapter: {rank: 4}
    hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}
    train: {epochs: 4, batch_size: 2, schedule: linear}
  source:
    size: 6
    adapter: {rank: 4}
    hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}
    train: {epochs: 4, batch_size: 2}
  portal: {size: 6, train: {epochs: 4, batch_size: 2}}
  equalised:
    method: portal
    size: 6
    train: {epochs: 4, batch_size: 2, task_gradients: norm_equalized, choice_loss: 0.5}
  cross_lora: {source: lora, source_base: mini-qwen3-xs}
  copy_lora: {source: lora, source_base: mini-qwen3-xs, targets: [mini-qwen3-xs]}
  random_lora: {source: lora, source_base: mini-qwen3-xs}
  zero_lora: {adapter: {rank: 2}}
"""
LABELS = (
    *("source", "portal", "cross_lora"),
    *nightly("base", "lora", "hypernet", "equalised", "copy_lora", "random_lora", "zero_lora"),
)
PLACES = [
    (Pack, "step"),
    (Pack, "sync_metrics"),
    (Pack, "evaluate"),
    (PackCheckpoint, "add"),
    (PackCheckpoint, "save"),
    (PackCheckpoint, "finish"),
    (RunStore, "mark_done"),
]
STEPS = (3, 5, 8)
"""Steps, counted over all launches, after which a run that trains is interrupted too."""


class Interruptions:
    """Raises before and after the first call of each place, and after some steps; every point once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.met: list[str] = []
        self._steps = 0
        for owner, name in PLACES:
            monkeypatch.setattr(owner, name, self._interrupted(getattr(owner, name), name))

    def _interrupted(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._meet(f"before {name}")
            value = function(*arguments, **named)
            self._meet(f"after {name}")
            if name == "step":
                self._steps += 1
                if self._steps in STEPS:
                    self._meet(f"after step {self._steps}")
            return value

        return call

    def _meet(self, point: str) -> None:
        if point not in self.met:
            self.met.append(point)
            raise Interruption(point)


@pytest.fixture(
    scope="module",
    params=[pytest.param(1, id="alone", marks=pytest.mark.chaos), pytest.param(8, id="packed")],
)
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Study, Path, Tables]:
    """A study of every method, done without a break, with one run or up to eight in a pack."""
    folder = tmp_path_factory.mktemp("finished")
    path = folder / "study.yaml"
    path.write_text(ALL_METHODS.replace("PACK", str(request.param)))
    study = load_study(path)
    outcome = run_study(study, folder / "out", executor="local", console=silent())
    assert outcome.is_done, outcome.failures
    return study, folder / "out", tables_of(study, folder / "out")


@pytest.mark.parametrize("label", LABELS)
def test_interrupted_at_every_point_a_method_ends_with_the_same_tensors_and_scores(
    finished: tuple[Study, Path, Tables], label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, whole, expected = finished
    out, store = tmp_path / "out", RunStore(tmp_path / "out")
    shutil.copytree(whole, out)
    own = {key for key, name in study.labels.items() if name == label}
    again = {key: members for key, members in PackStore(out).recorded_packs().items() if own & {*members}}
    redone = [key for members in again.values() for key in members]
    for key in redone:
        shutil.rmtree(store.run_folder(key))
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "1e-9")
    trains = {run.train is not None for run in study.runs if run.key in own}.pop()

    with monkeypatch.context() as patch:
        interruptions = Interruptions(patch)
        outcome = None
        while outcome is None:
            try:
                outcome = run_study(study, out, executor="local", console=silent())
            except Interruption:
                assert len(interruptions.met) <= 2 * len(PLACES) + len(STEPS)

    assert len(interruptions.met) >= (16 if trains else 11)
    assert outcome.is_done
    assert_same(tables_of(study, out), expected)
