"""Joint training, the refit, and the latents that they generate from."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.config import RunConfig
from portal.evaluate.loglikelihood import score_rows
from portal.hypernet import spread_layers
from portal.learners.hypernet import FreeLatents, HypernetLearner, TextLatents
from portal.train_config import TaskGradients, TrainConfig
from portal.training.pack import Pack
from tests.support.bases import TASKS, make_base, make_rows, make_run
from tests.support.packs import Tiny, advance

KINDS = get_args(TaskGradients)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Three bases, and an artifact trained on two of them."""
    folder = tmp_path_factory.mktemp("source")
    bases = {
        "small": make_base("small", "qwen3", hidden=24, layers=3, seed=1),
        "wide": make_base("wide", "qwen3", hidden=32, layers=4, seed=2),
        "other": make_base("other", "gemma3", hidden=28, layers=3, seed=3),
    }
    Tiny(bases).saved(make_run("source", "small", "wide"), folder)
    return Tiny(bases, folder / "small")


def learning(tiny: Tiny, run: RunConfig) -> tuple[Pack, HypernetLearner]:
    pack = tiny.pack(run)
    (learner,) = pack.learners
    assert isinstance(learner, HypernetLearner)
    return pack, learner


def test_a_refit_moves_the_whole_converter_alone_and_its_artifact_has_the_factors_of_the_learner(
    tiny: Tiny, tmp_path: Path
) -> None:
    pack, learner = learning(tiny, make_run("portal", "other"))
    base, converter = tiny.bases["other"], learner.converters["other"]
    before = {name: value.clone() for name, value in converter.state_dict().items()}
    rows = make_rows(base).rows("sums", "test")
    scores = [item.scores for item in score_rows(base, rows)]

    advance(pack, 4)
    learner.save_artifact(tmp_path, RunRecord.of(learner.run))

    source, saved = Artifact.load(tiny.source), Artifact.load(tmp_path)
    for artifact in (source, saved):
        assert torch.equal(learner.latents, artifact.tensors["task_latents"])
        for name, value in learner.core.state_dict().items():
            assert torch.equal(value, artifact.tensors[f"core.{name}"]), name
    for name, value in converter.state_dict().items():
        assert not torch.equal(value, before[name]), name
    assert [item.scores for item in score_rows(base, rows)] == scores
    assert all(parameter.grad is None for parameter in base.model.parameters())
    torch.testing.assert_close(
        [*saved.factors(TASKS).values()], [*learner.factors("other").values()], atol=1e-7, rtol=1e-6
    )


@pytest.mark.parametrize("layer_start", ["random", "source"])
def test_a_refits_layers_start_from_draws_or_where_the_sources_stand(tiny: Tiny, layer_start: str) -> None:
    train = TrainConfig.model_validate({"epochs": 2, "lr": 1e-2, "layer_start": layer_start})
    pack, learner = learning(tiny, make_run("portal", "wide", train=train))
    started = learner.converters["wide"].layer_embeddings.weight.clone()
    own = Artifact.load(tiny.source).layer_embeddings

    assert torch.equal(started[[0, -1]], own[[0, -1]]) == (layer_start == "source")
    assert learner.num_trained_params == sum(each.numel() for each in learner.converters["wide"].parameters())
    advance(pack, 2)
    assert not torch.equal(learner.converters["wide"].layer_embeddings.weight, started)
    assert torch.equal(Artifact.load(tiny.source).layer_embeddings, own)


def test_layers_are_spread_at_the_same_relative_depth() -> None:
    own = torch.tensor([[0.0, 4.0], [2.0, 0.0], [8.0, 1.0]])

    assert torch.equal(spread_layers(own, 3), own)
    assert spread_layers(own, 5).tolist() == [[0, 4], [1, 2], [2, 0], [5, 0.5], [8, 1]]
    assert spread_layers(own, 2).tolist() == [[0, 4], [8, 1]]
    assert spread_layers(own, 1).tolist() == [[0, 4]]
    assert spread_layers(own[:1], 3).tolist() == [[0, 4]] * 3


def gradients(tiny: Tiny, **recipe: object) -> tuple[HypernetLearner, dict[str, Tensor]]:
    """What the optimiser is handed in the first step, and the learner as it was, some of B not zero."""
    train = TrainConfig.model_validate({"epochs": 1, "lr": 1e-2, "clip_norm": 1e9, **recipe})
    run = make_run("hypernet", "small", train=train)
    (pack, learner), (_, before) = learning(tiny, run), learning(tiny, run)
    for each in (learner, before):
        each.core.B["q"].weight.data.normal_(std=0.1, generator=torch.Generator().manual_seed(5))
    found: dict[str, Tensor] = {}

    def capture(*_: object) -> None:
        parameters = {"latents": learner.latents, "core.l1.weight": learner.core.l1.weight}
        found.update({name: parameter.grad.clone() for name, parameter in parameters.items()})

    with register_optimizer_step_pre_hook(capture):
        advance(pack)
    return before, found


def test_equal_norms_leave_the_latents_gradient_as_it_is(tiny: Tiny) -> None:
    plain, weighted = (gradients(tiny, task_gradients=kind)[1] for kind in KINDS)

    torch.testing.assert_close(plain["latents"], weighted["latents"])
    assert not torch.allclose(plain["core.l1.weight"], weighted["core.l1.weight"], rtol=1e-2, atol=0)


def test_factor_decay_is_the_gradient_of_half_the_squared_norm_of_the_factors(tiny: Tiny) -> None:
    decay = 0.3
    learner, plain = gradients(tiny)
    _, decayed = gradients(tiny, factor_decay=decay)

    penalty = sum(f.square().sum() for pair in learner.factors("small").values() for f in pair) / 2
    expected = torch.autograd.grad(penalty, [learner.core.l1.weight, learner.latents])
    for name, gradient in zip(("core.l1.weight", "latents"), expected, strict=True):
        torch.testing.assert_close(decayed[name] - plain[name], decay * gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("method", "names"), [("source", ("small", "wide")), ("portal", ("other",))])
def test_one_task_alone_is_weighted_by_one(tiny: Tiny, method: str, names: tuple[str, ...]) -> None:
    found = []
    for kind in KINDS:
        train = TrainConfig(epochs=1, lr=1e-2, task_gradients=kind)
        pack, learner = learning(tiny, make_run(method, *names, data={"tasks": TASKS[:1]}, train=train))
        advance(pack, 2)
        found.append(learner.tensors())

    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def rows_by_step(tiny: Tiny, tasks_per_step: int | None) -> list[dict[str, object]]:
    """The rows of each task that takes part in a step, for every step."""
    train = TrainConfig(epochs=4, batch_size=2, lr=1e-2, tasks_per_step=tasks_per_step)
    _, learner = learning(tiny, make_run("hypernet", "small", train=train))
    found = []
    for step in range(learner.num_steps):
        learner.step = step
        found.append({TASKS[part.slot]: part.rows for part in learner.slot_rows("small", 0)})
    return found


def test_tasks_that_take_turns_see_the_rows_that_they_see_in_every_step_in_orders_of_their_own(
    tiny: Tiny,
) -> None:
    whole, single, double = (rows_by_step(tiny, each) for each in (None, 1, 2))

    assert len(single) == len(TASKS) * len(whole)
    for task in TASKS:
        assert [step[task] for step in single if task in step] == [step[task] for step in whole]
    turns = [(*first, *second) for first, second in zip(double[::2], double[1::2], strict=True)]
    assert all(sorted(turn) == sorted(TASKS) for turn in turns)
    assert len(set(turns)) > 1


@pytest.mark.parametrize(("products", "setting"), [({}, "tf32"), ({"hypernet_products": "fp32"}, "ieee")])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_makes_the_hypernetworks_products_as_the_run_says_and_no_others(
    tiny: Tiny, products: dict[str, str], setting: str, kind: TaskGradients
) -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    train = TrainConfig.model_validate({"epochs": 1, "task_gradients": kind, **products})
    pack, learner = learning(tiny, make_run("hypernet", "small", train=train))
    layer, model = learner.core.l1, tiny.bases["small"].model
    seen: dict[str, set[str]] = {"forward": set(), "backward": set(), "base": set()}
    layer.register_forward_pre_hook(lambda *_: seen["forward"].add(matmul.fp32_precision))
    layer.weight.register_hook(lambda _: seen["backward"].add(matmul.fp32_precision))

    with model.register_forward_pre_hook(lambda *_: seen["base"].add(matmul.fp32_precision)):
        advance(pack, 2)

    assert seen == {"forward": {setting}, "backward": {setting}, "base": {before}}
    assert matmul.fp32_precision == before


WIDTH, D_TEXT, COUNT = 5, 4, 3
TRAIN = TrainConfig(lr=1e-3, lr_latent=1e-2)


def text_latents(*, dropout: float, phrasings: int = 2, seed: int = 0) -> TextLatents:
    generator = torch.Generator().manual_seed(1)
    embeddings = [torch.randn(phrasings, D_TEXT, generator=generator) for _ in range(COUNT)]
    draws = {"std": 0.5, "seed": seed, "generator": generator, "device": torch.device("cpu")}
    latents = TextLatents(embeddings, WIDTH, dropout=dropout, **draws)
    with torch.no_grad():
        latents.own.copy_(torch.randn(COUNT, WIDTH, generator=generator))
        latents.linear.bias.copy_(torch.randn(WIDTH, generator=generator))
    return latents


def test_scores_take_the_mean_of_the_phrasings_and_the_tasks_own_part_and_steps_what_is_drawn() -> None:
    latents, one = text_latents(dropout=1.0), text_latents(dropout=0.0, phrasings=1)
    with torch.no_grad():
        each = torch.stack([latents.linear(rows).mean(0) for rows in latents.embeddings])
    torch.testing.assert_close(latents.values, each + latents.own)
    torch.testing.assert_close(one.leaf(3).detach(), one.values)  # nothing is dropped

    drawn = {step: latents.leaf(step).detach() for step in range(20)}

    for task, rows in enumerate(latents.embeddings):
        known = latents.linear(rows).detach()
        chosen = [[torch.allclose(step[task], row) for row in known].index(True) for step in drawn.values()]
        assert set(chosen) == {0, 1}


def test_the_own_part_is_dropped_at_its_rate_anew_in_each_step_by_the_seed_and_alike_for_all_bases() -> None:
    for dropout in (0.25, 0.75):
        latents = text_latents(dropout=dropout, phrasings=1)
        described = latents.linear(torch.cat(latents.embeddings)).detach()
        alone = [torch.isclose(latents.leaf(step).detach(), described).all(1) for step in range(400)]
        assert torch.stack(alone).float().mean().item() == pytest.approx(dropout, abs=0.05)

    mine, same, other = (text_latents(dropout=0.5, seed=seed) for seed in (0, 0, 1))
    assert mine.leaf(0) is mine.leaf(0)
    drawn, again, apart = ([each.leaf(step).detach() for step in range(8)] for each in (mine, same, other))
    assert all(map(torch.equal, drawn, again))
    assert not all(map(torch.equal, drawn, apart))
    assert not all(torch.equal(drawn[0], step) for step in drawn)


def test_the_leafs_gradient_reaches_the_map_and_the_own_parts_that_were_not_dropped() -> None:
    latents, step = text_latents(dropout=0.5), 2
    weight_TZ = torch.arange(float(COUNT * WIDTH)).reshape(COUNT, WIDTH) + 1
    leaf = latents.leaf(step)
    (leaf * weight_TZ).sum().backward()
    assert leaf.grad is not None

    def moved(values: Tensor, place: int, by: float) -> float:
        """The weighted sum of that step's latents where one number is another."""
        with torch.no_grad():
            values.view(-1)[place] += by
            latents.leaf(step + 1)  # another step, so that this one is computed again
            total = (latents.leaf(step) * weight_TZ).sum().item()
            values.view(-1)[place] -= by
        return total

    latents.receive(step, leaf.grad)

    for parameter in (latents.own, *latents.linear.parameters()):
        slopes = [
            (moved(parameter, place, 1e-2) - moved(parameter, place, -1e-2)) / 2e-2
            for place in range(parameter.numel())
        ]
        assert parameter.grad is not None
        torch.testing.assert_close(
            parameter.grad, torch.tensor(slopes).view_as(parameter), rtol=2e-2, atol=2e-2
        )


def test_the_map_has_the_cores_rate_latents_their_own_and_held_ones_are_nothing_to_train() -> None:
    latents = text_latents(dropout=0.5)
    free = FreeLatents(nn.Parameter(torch.ones(COUNT, WIDTH)))
    held = FreeLatents(nn.Parameter(torch.ones(COUNT, WIDTH), requires_grad=False))
    rates = [([latents.own], TRAIN.lr_latent), ([*latents.linear.parameters()], TRAIN.lr)]

    assert latents.rates(TRAIN) == rates
    assert free.rates(TRAIN) == [([free.values], TRAIN.lr_latent)]
    assert held.rates(TRAIN) == []
    assert held.tensors() == {}
    assert free.leaf(0) is free.values
    free.receive(0, torch.full((COUNT, WIDTH), 2.0))
    assert torch.equal(free.values.grad, torch.full((COUNT, WIDTH), 2.0))
