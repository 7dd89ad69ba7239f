"""How many bytes a run keeps in the output folder, and how many a pack needs there while it trains."""

from collections.abc import Sequence

from portal.config import RunConfig
from portal.storage.checkpoint import KEEP
from sweeps.planning.memory import count_params, shared_params
from sweeps.planning.workload import Work

_FP32 = 4
_MOMENTS = 2  # of AdamW, beside each trained number
_SCORE_BYTES = 16
"""Compressed bytes per scored example and evaluation; 4 to 25 were measured."""


def kept_bytes(run: RunConfig, work: Work) -> float:
    """Bytes of a finished run: its artifact and its tables."""
    return artifact_bytes(run) + _SCORE_BYTES * work.scored_rows * len(run.bases)


def artifact_bytes(run: RunConfig) -> float:
    """Bytes of the run's artifacts, one for each base."""
    params = [count_params(run, ref.name) for ref in run.bases]
    return _FP32 * sum(each.trained + each.held for each in params)


def checkpoint_bytes(runs: Sequence[RunConfig]) -> float:
    """Bytes of a pack's checkpoints when there are most of them: those kept and one being written."""
    return (KEEP + 1) * sum(map(saved_bytes, runs))


def saved_bytes(run: RunConfig) -> float:
    """Bytes of the run in one checkpoint, where what its bases share is once."""
    counted = sum(count_params(run, ref.name).trained for ref in run.bases)
    trained = counted - (len(run.bases) - 1) * shared_params(run)
    return _FP32 * trained * (1 + _MOMENTS + _keeps_best(run))


def _keeps_best(run: RunConfig) -> bool:
    """Whether its checkpoints hold the parameters of its best evaluation, too."""
    return run.train is not None and run.train.keep == "best_validation"
