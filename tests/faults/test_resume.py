"""Resume is exact: every method, alone and packed, interrupted before and after everything that it does."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from portal.methods import METHODS
from portal.training.pack import Pack
from sweeps.launch.driver import LaunchResult, run_study
from sweeps.store.run_store import PackStore, RunStore
from sweeps.study.expand import Study
from sweeps.worker.pack_checkpoint import PackCheckpoint
from tests.support.encoders import save_encoder
from tests.support.studies import Interruption, Tables, assert_same, load_text, silent, tables_of

pytestmark = pytest.mark.slow

ALL_METHODS = """
name: all-methods
suite: mini
tasks: [fact_qa, counting]
eval_size: 3
seeds: [0]
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s, mini-qwen3-xs]
exclude:
  - base: mini-qwen3-xs
    method:
      [base, shared_lora, hypernet, portal, equalised, mean_latent, carried, mismatched_latent, zero_lora]
pack_size: PACK
methods:
  base: {}
  lora: {size: 6, adapter: {rank: 2}, train: {epochs: 4, lr: 1e-3, batch_size: 2}}
  shared_lora: {size: 6, adapter: {rank: 2}, train: {epochs: 4, lr: 1e-3, batch_size: 2}}
  hypernet:
    size: 6
    adapter: {rank: 4}
    hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}
    train: {epochs: 4, batch_size: 2, schedule: linear}
  source:
    size: 6
    tasks: [comparison, membership]
    text: {encoder: ENCODER}
    adapter: {rank: 4}
    hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}
    train: {epochs: 4, batch_size: 2}
  portal: {size: 6, train: {epochs: 4, batch_size: 2}}
  equalised:
    method: portal
    size: 6
    train: {epochs: 4, batch_size: 2, task_gradients: norm_equalized, choice_loss: 0.5}
  taught:
    targets: [mini-qwen3-xs]
    size: 6
    train: {epochs: 4, rounds_per_epoch: 3, evaluate: every_epoch, batch_size: 2}
  nearest_latent: {targets: [mini-qwen3-xs], size: 6}
  described: {targets: [mini-qwen3-xs]}
  mismatched_description: {targets: [mini-qwen3-xs]}
  mean_latent: {source: portal}
  carried: {source: portal, latents: taught}
  mismatched_latent: {source: portal, latents: taught}
  cross_lora: {source: lora, source_base: mini-qwen3-xs}
  copy_lora: {source: lora, source_base: mini-qwen3-xs, targets: [mini-qwen3-xs]}
  random_lora: {source: lora, source_base: mini-qwen3-xs}
  zero_lora: {adapter: {rank: 2}}
"""
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
    """Raises before and after the first call of each place, and after some steps; every point once.

    With `each_method` also once in every method: after its third step where it trains, else after an
    evaluation.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, each_method: bool = False) -> None:
        self.met: set[str] = set()
        self._each_method, self._steps = each_method, 0
        for owner, name in PLACES:
            monkeypatch.setattr(owner, name, self._interrupted(getattr(owner, name), name))

    def _interrupted(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._meet(f"before {name}")
            value = function(*arguments, **named)
            points = {f"after {name}"}
            if name == "step":
                self._steps += 1
                points |= {f"after step {self._steps}"} if self._steps in STEPS else set()
            if self._each_method:
                points |= methods_at(name, *arguments)
            self._meet(*points)
            return value

        return call

    def _meet(self, *points: str) -> None:
        if not self.met.issuperset(points):
            self.met.update(points)
            raise Interruption(", ".join(points))


def methods_at(name: str, *arguments: Any) -> set[str]:
    """Methods that are in the middle of their work after a call of `name` with these arguments."""
    if name == "step":
        (pack,) = arguments
        return {learner.run.method for learner in pack.active if learner.step == 3}
    if name == "evaluate":
        _, learner, _ = arguments
        return set() if METHODS[learner.run.method].trains else {learner.run.method}
    return set()


def launch_again_and_again(study: Study, out: Path, interruptions: Interruptions) -> LaunchResult:
    """The result of the launch that nothing interrupts any more."""
    while True:
        before = len(interruptions.met)
        try:
            return run_study(study, out, executor="local", console=silent())
        except Interruption:
            assert len(interruptions.met) > before


@pytest.fixture(
    scope="module",
    params=[pytest.param(1, id="alone", marks=pytest.mark.chaos), pytest.param(8, id="packed")],
)
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Study, Path, Tables]:
    """A study of every method, done without a break, with one run or up to eight in a pack."""
    folder = tmp_path_factory.mktemp("finished")
    text = ALL_METHODS.replace("PACK", str(request.param)).replace("ENCODER", str(save_encoder(folder)))
    study = load_text(folder, text)
    outcome = run_study(study, folder / "out", executor="local", console=silent())
    assert outcome.is_done, outcome.failures
    return study, folder / "out", tables_of(study, folder / "out")


@pytest.fixture(scope="module")
def interrupted(
    finished: tuple[Study, Path, Tables], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, set[str]]:
    """The output folder of the same study, interrupted in every method and at every point; the points."""
    study, out = finished[0], tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTAL_CHECKPOINT_S", "1e-9")
        interruptions = Interruptions(patch, each_method=True)
        outcome = launch_again_and_again(study, out, interruptions)
    assert outcome.is_done, outcome.failures
    assert interruptions.met >= {f"{when} {name}" for when in ("before", "after") for _, name in PLACES}
    return out, interruptions.met


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_is_interrupted_in_a_launch_of_all_ends_with_the_same_tensors_and_scores(
    finished: tuple[Study, Path, Tables], interrupted: tuple[Path, set[str]], method: str
) -> None:
    study, whole, _ = finished
    out, points = interrupted
    own = replace(study, runs=tuple(run for run in study.runs if run.method == method))

    assert method in points
    assert_same(tables_of(own, out), tables_of(own, whole))


@pytest.mark.nightly
@pytest.mark.parametrize("label", yaml.safe_load(ALL_METHODS)["methods"])
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
        outcome = launch_again_and_again(study, out, interruptions)

    assert len(interruptions.met) >= (16 if trains else 11)
    assert outcome.is_done
    assert_same(tables_of(study, out), expected)
