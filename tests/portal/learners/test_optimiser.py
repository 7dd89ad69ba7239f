"""Loss averages, balanced latent gradients and sums at equal norms, by the formulas."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from portal.learners.optimiser import LossEMA, balance_gradients, equalized_sum

CPU = torch.device("cpu")


def average(num_tasks: int = 1, *, decay: float = 0.9, floor: float = 1e-3) -> LossEMA:
    return LossEMA(num_tasks, decay=decay, floor=floor, device=CPU)


def normalise(ema: LossEMA, *losses: float) -> list[float]:
    loss_K = torch.tensor(losses)
    normalised = loss_K / ema.divisors(torch.arange(len(losses)), loss_K)
    ema.commit()
    return normalised.tolist()


def test_the_average_takes_in_the_current_loss_before_it_divides_by_no_less_than_the_floor() -> None:
    ema = average(decay=0.5)

    assert [normalise(ema, loss) for loss in (4.0, 2.0, 2.0)] == [
        [1.0], [pytest.approx(2.0 / 3.0)], [pytest.approx(2.0 / 2.5)],
    ]  # fmt: skip
    assert normalise(average(floor=0.1), 0.01) == [pytest.approx(0.1)]


def test_losses_that_are_computed_again_count_once_and_dropped_ones_not_and_carry_no_gradient() -> None:
    ema = average(decay=0.5)
    normalise(ema, 4.0)
    loss = torch.tensor([2.0], requires_grad=True)

    ema.divisors(torch.tensor([0]), loss)
    ema.drop()
    ema.commit()
    assert ema.value_T.tolist() == [4.0]
    first, again = (ema.divisors(torch.tensor([0]), loss) for _ in range(2))
    ema.commit()

    assert first.tolist() == again.tolist() == ema.value_T.tolist() == [3.0]
    assert not first.requires_grad
    assert not ema.value_T.requires_grad


@given(scales=st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=4))
def test_every_base_has_an_equal_say_whatever_the_size_of_its_gradient(scales: list[float]) -> None:
    directions = torch.eye(len(scales))

    balanced = balance_gradients(
        [scale * direction for scale, direction in zip(scales, directions, strict=True)]
    )

    mean = sum(scales) / len(scales)
    torch.testing.assert_close(balanced, torch.full((len(scales),), mean), rtol=1e-4, atol=0)


def test_one_gradient_stays_as_it_is_and_has_half_its_size_beside_one_of_zero() -> None:
    gradient, zero = torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)

    assert torch.equal(balance_gradients([gradient]), gradient)
    torch.testing.assert_close(balance_gradients([gradient, zero]), gradient / 2)
    assert torch.equal(balance_gradients([zero] * 3), zero)


def gradients(*rows: tuple[float, float, float]) -> list[tuple[Tensor, ...]]:
    """One gradient per task, of two shared parameters."""
    return [(torch.tensor(row[:1]), torch.tensor(row[1:])) for row in rows]


def test_tasks_have_equal_norms_in_the_sum_which_is_finite_only_where_all_are() -> None:
    found = torch.cat(equalized_sum(gradients((3.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0))))

    assert found.tolist() == [2.0, 0.0, 2.0]  # the mean norm of the two that have a gradient is 2
    for value in (torch.nan, torch.inf):
        broken = torch.cat(equalized_sum(gradients((1.0, 0.0, 0.0), (0.0, value, 1.0))))
        assert not torch.isfinite(broken).all()
