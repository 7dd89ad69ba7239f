"""Weights of tasks: what each weighting promises, against torchjd's own aggregators and the plain sum."""

import numpy as np
import pytest
import torch
import torchjd.aggregation as torchjd
from torch import Tensor

from portal.learners.task_gradients import combine_gradients, task_cosines
from portal.train_config import TaskGradients

SHAPES = ((3, 4), (7,), (2, 2, 2))
AGGREGATORS = {
    "upgrad": torchjd.UPGrad,
    "aligned_mtl": torchjd.AlignedMTL,
    "imtl_g": torchjd.IMTLG,
    "pcgrad": torchjd.PCGrad,
}


def draw_gradients(num_tasks: int, seed: int = 0) -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple((task + 1) * torch.randn(shape, generator=generator) for shape in SHAPES)
        for task in range(num_tasks)
    ]


def jacobian(own: list[tuple[Tensor, ...]]) -> Tensor:
    return torch.stack([torch.cat([part.flatten() for part in parts]) for parts in own])


def flat(combined: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in combined])


@pytest.mark.parametrize("kind", AGGREGATORS)
def test_a_gramian_weighting_gives_what_torchjd_makes_of_the_jacobian(kind: TaskGradients) -> None:
    own = draw_gradients(5)

    ours = flat(combine_gradients(own, kind, seed=3))

    torch.manual_seed(3)
    theirs = AGGREGATORS[kind]()(jacobian(own)) * (1 if kind == "pcgrad" else 5)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["norm_equalized", *AGGREGATORS])
def test_tasks_that_agree_are_added_up(kind: TaskGradients) -> None:
    same = draw_gradients(1)[0]

    ours = flat(combine_gradients([same] * 4, kind, seed=0))

    torch.testing.assert_close(ours, 4 * flat(list(same)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["upgrad", "pcgrad"])
def test_a_projected_gradient_conflicts_with_no_task_that_the_sum_would_hurt(kind: TaskGradients) -> None:
    mild, strong = torch.tensor([1.0, 1.0]), torch.tensor([-6.0, 1.0])
    total = mild + strong
    assert total @ mild < 0

    ours = flat(combine_gradients([(mild,), (strong,)], kind, seed=0))

    assert ours @ mild >= -1e-4
    assert ours @ strong >= -1e-4


def test_draws_of_a_weighting_follow_its_seed_and_move_no_other_generator() -> None:
    own = draw_gradients(6, seed=4)
    torch.manual_seed(11)
    before = torch.get_rng_state()

    one, again, other = (flat(combine_gradients(own, "pcgrad", seed)) for seed in (1, 1, 2))

    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_gradient_that_is_not_finite_stays_visible() -> None:
    own = draw_gradients(3)
    own[1][0][0, 0] = torch.nan

    for kind in ("norm_equalized", "upgrad"):
        assert torch.isnan(flat(combine_gradients(own, kind, seed=0))).any()


def test_cosines_are_those_of_the_whole_gradients() -> None:
    own = draw_gradients(4)

    found = task_cosines(own).numpy()

    rows = jacobian(own).double().numpy()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(found, unit @ unit.T, atol=1e-5)


@pytest.mark.parametrize("kind", ["norm_equalized", "upgrad", "pcgrad", "aligned_mtl", "imtl_g"])
def test_equal_tasks_count_as_one_each_beside_tasks_without_a_gradient(kind: TaskGradients) -> None:
    (gradient,) = draw_gradients(1)
    nothing = [torch.zeros_like(part) for part in gradient]

    found = flat(combine_gradients([gradient, nothing, gradient, nothing, nothing], kind, seed=0))

    np.testing.assert_allclose(found, 2 * flat([*gradient]), rtol=1e-3)
