"""How many bytes a run keeps in the output folder, and how many a pack needs there while it trains."""

from collections.abc import Sequence

from portal.config import RunConfig
from portal.storage.checkpoint import KEEP
from sweeps.planning.memory import count_params
from sweeps.planning.workload import Work

_FP32 = 4
_MOMENTS = 2  # of AdamW, beside each trained number
_SCORE_BYTES = 16
"""Compressed bytes per scored example and evaluation; 4 to 25 were measured."""


def kept_bytes(run: RunConfig, work: Work) -> float:
    """Bytes of a finished run: its artifact and its tables."""
    params = [count_params(run, ref.name) for ref in run.bases]
    artifact = _FP32 * sum(each.trained + each.held for each in params)
    return artifact + _SCORE_BYTES * work.scored_rows * len(run.bases)


def checkpoint_bytes(runs: Sequence[RunConfig]) -> float:
    """Bytes of a pack's checkpoints when there are most of them: those kept and one being written."""
    copies = sum(
        count_params(run, ref.name).trained * (1 + _MOMENTS + _keeps_best(run))
        for run in runs
        for ref in run.bases
    )
    return (KEEP + 1) * _FP32 * copies


def _keeps_best(run: RunConfig) -> bool:
    """Whether its checkpoints hold the parameters of its best evaluation, too."""
    return run.train is not None and run.train.keep == "best_validation"
