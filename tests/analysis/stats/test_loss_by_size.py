"""Log-loss at every size: each against the per-task LoRA's at the same size, paired."""

import numpy as np
import pytest

from analysis.stats.aggregate import compare
from analysis.stats.bootstrap import LOG_LOSS, bootstrap_over_tasks, choose_runs
from analysis.stats.epoch_selection import KEPT
from analysis.stats.loss_by_size import SizedLoss, find_losses
from analysis.stats.result_table import gather_runs
from tests.support.result_tables import StudyBuilder


def losses_of(builder: StudyBuilder) -> dict[tuple[str, int], SizedLoss]:
    study = gather_runs(builder.results_table())
    comparison = compare(study, "big", KEPT)
    chosen = choose_runs(study, [each.cell for each in comparison.summaries], KEPT)
    bootstrap = bootstrap_over_tasks(
        chosen, chosen.answers(builder.predictions_table()), LOG_LOSS, num_draws=500
    )
    return {(loss.cell.method, loss.cell.size or 0): loss for loss in find_losses(comparison, bootstrap)}


@pytest.fixture(scope="module")
def losses() -> dict[tuple[str, int], SizedLoss]:
    builder = StudyBuilder(num_examples=60)
    builder.add("base", rates=(0.3,))
    for seed in range(2):
        for size, port, lora in ((2, 0.6, 0.4), (8, 0.7, 0.7), (32, 0.7, 0.9)):
            builder.add("portal", seed=seed, size=size, rates=(port,))
            builder.add("lora", seed=seed, size=size, rates=(lora,))
        builder.add("portal", seed=seed, size=16, rates=(0.7,))
    return losses_of(builder)


def test_every_size_is_compared_with_the_lora_of_that_size(
    losses: dict[tuple[str, int], SizedLoss],
) -> None:
    few, many = losses["portal", 2].difference, losses["portal", 32].difference
    assert few is not None
    assert few.high is not None
    assert few.high < 0
    assert many is not None
    assert many.low is not None
    assert many.low > 0
    middle = losses["portal", 8].difference
    assert middle is not None
    assert not middle.excludes_zero


def test_a_size_without_a_lora_and_the_lora_itself_have_no_difference(
    losses: dict[tuple[str, int], SizedLoss],
) -> None:
    assert losses["portal", 16].difference is None
    assert losses["lora", 2].difference is None
    assert losses["portal", 16].interval is not None


def test_the_bootstraps_value_is_the_tables(losses: dict[tuple[str, int], SizedLoss]) -> None:
    for loss in losses.values():
        assert loss.interval is not None
        assert loss.interval.value == pytest.approx(loss.log_loss.mean, abs=1e-4)
        assert loss.interval.low is not None
        assert loss.interval.high is not None
        assert loss.interval.low < loss.log_loss.known < loss.interval.high


def test_without_predictions_there_are_means_alone() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("portal", seed=0, size=2, rates=(0.6,))
    comparison = compare(gather_runs(builder.results_table()), "big", KEPT)

    (loss,) = find_losses(comparison, None)

    assert (loss.interval, loss.difference) == (None, None)
    assert np.isfinite(loss.log_loss.known)
