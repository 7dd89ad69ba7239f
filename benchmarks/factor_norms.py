"""`python -m benchmarks.factor_norms STUDY LABEL`: how the adapters of joint training grow, step by step.

It trains one run of a study in this process, without evaluations, and prints the loss, the spread of the
latents and the norm of the factors that the hypernetwork generates. A run that diverges shows it there first.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from portal.bases.base import load_base
from portal.config import RunConfig
from portal.data.suites import Suite
from portal.data.token_rows import RowTable, encode_examples
from portal.learners.hypernet import HypernetLearner
from portal.training.pack import Pack
from sweeps.study.expand import load_study

COLUMNS = ("step", "loss", "std of latents", "norm of factors", "share between tasks")


@dataclass(frozen=True)
class Reading:
    """After a step: the mean loss since the last reading; the standard deviation of the latents' entries.

    `norm` is the Frobenius norm of the generated factors A and B of all tasks; `between_tasks` is what share
    of the B factors' squared norm is not their mean over tasks.
    """

    step: int
    loss: float
    latent_std: float
    norm: float
    between_tasks: float


def watch(learner: HypernetLearner, pack: Pack, *, steps: int, every: int) -> Iterator[Reading]:
    """Train so many steps of a pack with one learner on one base; a reading every so many of them."""
    (base,) = learner.bases
    for step in range(1, steps + 1):
        pack.step()
        if step % every:
            continue
        pack.sync_metrics()
        with torch.no_grad():
            factors = list(learner.factors(base).values())
            norm = sum(_square(a) + _square(b) for a, b in factors) ** 0.5
            between = sum(_square(b - b.mean(0)) for _, b in factors) / sum(_square(b) for _, b in factors)
            yield Reading(step, pack.losses[learner.key], learner.latents.std().item(), norm, between)


def _square(values: Tensor) -> float:
    return values.square().sum().item()


def build(run: RunConfig, suite: Suite) -> tuple[HypernetLearner, Pack]:
    """The run's learner, alone in a pack, with training rows only."""
    (ref,) = run.bases
    base = load_base(ref.name, precision=ref.precision)
    examples = ((each, "train") for task in run.data.tasks for each in suite.examples(task, "train"))
    rows = {base.name: RowTable(encode_examples(examples, base.tokenizer, max_prompt=run.data.max_prompt))}
    learner = HypernetLearner(run, {base.name: base}, rows)
    return learner, Pack(learner.bases, rows, [learner])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.factor_norms", description=__doc__)
    parser.add_argument("study", metavar="STUDY", help="name of a shipped study, or path of a study file")
    parser.add_argument("label", metavar="LABEL", help="label of a run of joint training on one base in it")
    parser.add_argument("--seed", type=int, required=True, help="of the run")
    parser.add_argument("--train", default="{}", help="JSON of training settings that are changed")
    parser.add_argument("--steps", type=int, default=120, help="steps to take of the run's schedule")
    parser.add_argument("--every", type=int, default=20, help="steps between two lines")
    arguments = parser.parse_args()
    study = load_study(arguments.study)
    found = [
        run
        for run in study.runs
        if (study.labels[run.key], run.seed) == (arguments.label, arguments.seed) and len(run.bases) == 1
    ]
    if not found:
        parser.error(f"no such run; labels: {', '.join(sorted(set(study.labels.values())))}")
    values = found[0].model_dump()
    values["train"] |= json.loads(arguments.train)
    learner, pack = build(RunConfig.model_validate(values), study.suite)
    print(f"| {' | '.join(COLUMNS)} |\n|{'--:|' * len(COLUMNS)}")
    for each in watch(learner, pack, steps=arguments.steps, every=arguments.every):
        cells = [
            f"{each.loss:.2f}",
            f"{each.latent_std:.3f}",
            f"{each.norm:.0f}",
            f"{each.between_tasks:.2f}",
        ]
        print(f"| {' | '.join([str(each.step), *cells])} |", flush=True)


if __name__ == "__main__":
    main()
