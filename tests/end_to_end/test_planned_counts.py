"""What a plan counts is what a study does: steps, forwards, padded tokens and scored tokens."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from portal.bases.base import Base, load_base
from portal.config import RunConfig
from portal.forward.microbatch import cpu_launch_cost
from portal.training.pack import Pack
from sweeps.launch.driver import run_study
from sweeps.planning.cost_model import scored_forwards
from sweeps.planning.plan import plan_study
from sweeps.planning.workload import Work, sample_step
from sweeps.study.expand import load_study
from sweeps.worker import base_cache
from sweeps.worker.build_learners import BASES
from tests.support.precision import needs_bf16
from tests.support.studies import silent

STUDY = """
name: counted
suite: mini
precision: PRECISION
tasks: [fact_qa, counting, passage_yesno]
eval_size: 20
seeds: [0, 1]
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s]
methods:
  base: {}
  lora: {size: 24, train: {epochs: 2, lr: 1e-3}, curve: {sizes: [4]}}
  source:
    size: 16
    adapter: {rank: 4, alpha: 8}
    hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}
    train: {epochs: 2}
  portal: {size: 16, train: {epochs: 3, evaluate: every_epoch}}
"""
TRAINED_REL, SCORED_REL = 0.1, 0.1
"""Of a study's counts: a plan samples steps and rows."""
MODULES = 2
"""That adapters have by default."""


def counted_bases(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Forwards and tokens of all bases that workers load from now on, in training and in scoring."""
    counts: Counter[str] = Counter()

    def count(module: object, args: tuple[Any, ...], kwargs: Mapping[str, torch.Tensor]) -> None:
        kind = "trained" if torch.is_grad_enabled() else "scored"
        counts[f"{kind} forwards"] += 1
        counts[f"{kind} tokens"] += kwargs["input_ids"].numel()

    def load(*args: Any, **kwargs: Any) -> Base:
        base = load_base(*args, **kwargs)
        base.model.register_forward_pre_hook(count, with_kwargs=True)
        return base

    BASES.keep((), "cpu")  # what other tests have left is not counted
    monkeypatch.setattr(base_cache, "load_base", load)
    return counts


def planned_counts(runs: Sequence[RunConfig], works: Mapping[str, Work]) -> Counter[str]:
    """Of a pack, whose learners leave it when their steps are taken."""
    own = [works[run.key] for run in runs]
    counts: Counter[str] = Counter()
    for start, end in pairwise([0, *sorted({work.steps for work in own if work.steps})]):
        left = [work for work in own if work.steps >= end]
        step = sample_step(left, cpu_launch_cost(MODULES), on_gpu=False)
        counts["learner steps"] += (end - start) * len(left)
        counts["trained forwards"] += (end - start) * step.forwards
        counts["trained tokens"] += (end - start) * step.padded_tokens
    for work in own:
        forwards, padding = scored_forwards(work, cpu_launch_cost(0).forward / 2)
        counts["scored forwards"] += forwards
        counts["scored tokens"] += padding * work.scored_tokens
    return counts


def cost(counts: Counter[str]) -> float:
    """Of training, in tokens: where a forward more saves as many padded tokens, either is as good."""
    return counts["trained tokens"] + counts["trained forwards"] * cpu_launch_cost(MODULES).forward


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision", ["default", pytest.param("bf16", marks=[needs_bf16, pytest.mark.nightly])]
)
def test_a_study_takes_the_steps_forwards_and_tokens_of_its_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    path, out = tmp_path / "study.yaml", tmp_path / "out"
    path.write_text(STUDY.replace("PRECISION", precision))
    study = load_study(path)
    plan = plan_study(study, out, device=None)
    planned = sum((planned_counts(pack.runs, plan.checked.works) for pack in plan.packs), Counter())

    counts = counted_bases(monkeypatch)
    step = Pack.step

    def stepped(pack: Pack) -> int:
        taken = step(pack)
        counts["learner steps"] += taken
        return taken

    monkeypatch.setattr(Pack, "step", stepped)
    assert run_study(study, out, executor="local", console=silent()).is_done

    assert planned["learner steps"] == counts["learner steps"]
    assert cost(planned) == pytest.approx(cost(counts), rel=TRAINED_REL)
    assert planned["trained tokens"] == pytest.approx(counts["trained tokens"], rel=TRAINED_REL)
    assert planned["scored tokens"] == pytest.approx(counts["scored tokens"], rel=SCORED_REL)
    assert planned["scored forwards"] == pytest.approx(counts["scored forwards"], rel=SCORED_REL)
