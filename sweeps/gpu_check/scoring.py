"""Scoring on a base of a real shape beside what a plan predicts for it."""

import time
from collections.abc import Sequence

from portal.data.sampling import evaluation_rows
from portal.forward.adapter_hooks import AdapterHooks
from portal.learners.base import Learner
from portal.learners.kept import EVALUATED_SPLITS
from portal.training.evaluator import Evaluator
from portal.training.pack import Pack
from portal.training.result_rows import Evaluation
from portal.training.worker_group import WorkerGroup
from sweeps.gpu_check.finding import over_forecast
from sweeps.gpu_check.pace import Speed
from sweeps.gpu_check.shape import LENGTHS, ShapeWorld
from sweeps.planning.cost_model import scoring_seconds
from sweeps.planning.devices import Device
from sweeps.planning.workload import Work, scoring_only

_TASKS = {"cuda": tuple(LENGTHS), "cpu": tuple(LENGTHS)[::5], "cpu in bf16": tuple(LENGTHS)[::7]}
_TURNS = 2
"""The first one lays rows out and takes memory."""


def time_scoring(world: ShapeWorld, learner: Learner, tasks: Sequence[str]) -> tuple[Evaluation, float]:
    """Scores of the tasks' rows in both splits, and the seconds that they take once the rows are laid out.

    FloatingPointError for scores that are no numbers.
    """
    base = world.base
    hooks = AdapterHooks(base.model, base.sites)
    evaluator = Evaluator({base.name: base}, {base.name: world.rows}, {base.name: hooks}, WorkerGroup())
    for _ in range(_TURNS):
        started = time.perf_counter()
        found = evaluator.evaluate(learner, 1, tasks)  # reads the scores, and so waits for the device
        seconds = time.perf_counter() - started
    if isinstance(found, str):
        raise FloatingPointError(found)
    return found, seconds


def measure_scoring(world: ShapeWorld, pack: Pack, work: Work, device: Device, what: str) -> Speed:
    """An evaluation of the first learner, whose adapters are no longer zero; on a CPU of some tasks."""
    base, learner, tasks = world.base, pack.learners[0], _TASKS[world.kind]
    _, seconds = time_scoring(world, learner, tasks)
    sets = [
        evaluation_rows(world.rows.rows(task, split), learner.run.data.eval_size)
        for task in tasks
        for split in EVALUATED_SPLITS
    ]
    scoring = scoring_only(work, sets, in_one_row=base.takes_branches)
    predicted = scoring_seconds([learner.run], [scoring], base.name, device)
    rows = sum(map(len, sets))
    line = over_forecast(f"{what}: scoring of {rows} rows in {seconds:.2f} s", seconds / predicted)
    return Speed(seconds, predicted, (line,), is_scoring=True)
