"""Free latents and latents with a description: what a step draws, what is scored, where gradients go."""

import pytest
import torch
from torch import nn

from portal.learners.task_latents import FreeLatents, TextLatents
from portal.train_config import TrainConfig

WIDTH, D_TEXT, TASKS = 5, 4, 3
TRAIN = TrainConfig(lr=1e-3, lr_latent=1e-2)


def text_latents(*, dropout: float, phrasings: int = 2, seed: int = 0) -> TextLatents:
    generator = torch.Generator().manual_seed(1)
    embeddings = [torch.randn(phrasings, D_TEXT, generator=generator) for _ in range(TASKS)]
    latents = TextLatents(
        embeddings,
        WIDTH,
        dropout=dropout,
        std=0.5,
        seed=seed,
        generator=generator,
        device=torch.device("cpu"),
    )
    with torch.no_grad():
        latents.own.copy_(torch.randn(TASKS, WIDTH, generator=generator))
        latents.linear.bias.copy_(torch.randn(WIDTH, generator=generator))
    return latents


def test_scores_take_the_mean_of_the_phrasings_and_the_tasks_own_part() -> None:
    latents = text_latents(dropout=1.0)

    with torch.no_grad():
        each = torch.stack([latents.linear(rows).mean(0) for rows in latents.embeddings])

    torch.testing.assert_close(latents.values, each + latents.own)


def test_with_full_dropout_a_step_draws_one_phrasing_of_each_task_alone() -> None:
    latents = text_latents(dropout=1.0)

    drawn = {step: latents.leaf(step).detach() for step in range(20)}

    for task, rows in enumerate(latents.embeddings):
        known = latents.linear(rows).detach()
        chosen = [[torch.allclose(step[task], row) for row in known].index(True) for step in drawn.values()]
        assert set(chosen) == {0, 1}


def test_without_dropout_every_step_has_the_own_part() -> None:
    latents = text_latents(dropout=0.0, phrasings=1)

    torch.testing.assert_close(latents.leaf(3).detach(), latents.values)


@pytest.mark.parametrize("dropout", [0.25, 0.75])
def test_the_own_part_is_dropped_at_its_rate(dropout: float) -> None:
    latents = text_latents(dropout=dropout, phrasings=1)
    (described,) = {latents.linear(torch.cat(latents.embeddings)).detach()}

    alone = [torch.isclose(latents.leaf(step).detach(), described).all(1) for step in range(400)]

    assert torch.stack(alone).float().mean().item() == pytest.approx(dropout, abs=0.05)


def test_all_bases_of_a_step_share_one_leaf_and_steps_draw_anew() -> None:
    latents = text_latents(dropout=0.5)
    first = latents.leaf(0)

    assert latents.leaf(0) is first
    steps = [latents.leaf(step).detach() for step in range(8)]
    assert any(not torch.equal(steps[0], other) for other in steps[1:])


def test_a_step_draws_the_same_again_by_its_seed() -> None:
    mine, same = text_latents(dropout=0.5), text_latents(dropout=0.5)
    other = text_latents(dropout=0.5, seed=1)

    assert all(torch.equal(mine.leaf(step), same.leaf(step)) for step in range(8))
    assert any(not torch.equal(mine.leaf(step), other.leaf(step)) for step in range(8))


def test_the_leafs_gradient_reaches_the_map_and_the_own_parts_that_were_not_dropped() -> None:
    latents, step = text_latents(dropout=0.5), 2
    weight_TZ = torch.arange(float(TASKS * WIDTH)).reshape(TASKS, WIDTH) + 1
    leaf = latents.leaf(step)
    (leaf * weight_TZ).sum().backward()
    assert leaf.grad is not None

    latents.receive(step, leaf.grad)

    for parameter in (latents.own, *latents.linear.parameters()):
        numeric = torch.zeros_like(parameter)
        for place in range(parameter.numel()):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[place] += sign * 1e-2
                values.append((text_leaf(latents, step) * weight_TZ).sum().item())
                with torch.no_grad():
                    parameter.view(-1)[place] -= sign * 1e-2
            numeric.view(-1)[place] = (values[0] - values[1]) / 2e-2
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, numeric, rtol=2e-2, atol=2e-2)


def text_leaf(latents: TextLatents, step: int) -> torch.Tensor:
    """That step's latents by the parameters as they are now."""
    latents.leaf(step + 1)  # another step, so that this one is computed again
    return latents.leaf(step).detach()


def test_the_map_has_the_cores_rate_and_the_own_parts_that_of_latents() -> None:
    latents = text_latents(dropout=0.5)

    (own, own_rate), (linear, rate) = latents.rates(TRAIN)

    assert own == [latents.own]
    assert own_rate == TRAIN.lr_latent
    assert linear == list(latents.linear.parameters())
    assert rate == TRAIN.lr


def test_free_latents_are_a_parameter_and_held_ones_are_nothing_to_train() -> None:
    free = FreeLatents(nn.Parameter(torch.ones(TASKS, WIDTH)))
    held = FreeLatents(nn.Parameter(torch.ones(TASKS, WIDTH), requires_grad=False))

    assert free.leaf(0) is free.values
    free.receive(0, torch.full((TASKS, WIDTH), 2.0))
    assert torch.equal(free.values.grad, torch.full((TASKS, WIDTH), 2.0))
    assert free.rates(TRAIN) == [([free.values], TRAIN.lr_latent)]
    assert held.rates(TRAIN) == []
    assert held.tensors() == {}
