"""Gradients of what tasks share: their sum at equal norms, and how far they agree."""

import pytest
import torch
from torch import Tensor

from portal.learners.task_gradients import equalized_sum, task_cosines


def gradients(*rows: tuple[float, float, float]) -> list[tuple[Tensor, ...]]:
    """One gradient per task, of two shared parameters."""
    return [(torch.tensor(row[:1]), torch.tensor(row[1:])) for row in rows]


def test_tasks_have_equal_norms_in_the_sum_and_one_without_a_gradient_no_say() -> None:
    found = torch.cat(equalized_sum(gradients((3.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0))))

    assert found.tolist() == [2.0, 0.0, 2.0]  # the mean norm of the two is 2


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_leaves_a_sum_that_is_not(value: float) -> None:
    found = equalized_sum(gradients((1.0, 0.0, 0.0), (0.0, value, 1.0)))

    assert not torch.isfinite(torch.cat(found)).all()


def test_cosines_are_those_of_the_gradients_over_all_parameters() -> None:
    found = task_cosines(gradients((3.0, 0.0, 4.0), (0.0, 0.0, 2.0), (0.0, 0.0, 0.0)))

    torch.testing.assert_close(found[0, 1], torch.tensor(0.8))
    assert found[2].isnan().all()
