"""Joint training, the refit, and the latents that they generate from."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig
from portal.evaluate.loglikelihood import score_rows
from portal.hypernet import spread_layers
from portal.learners.base import Learner, build_learner
from portal.learners.hypernet import FreeLatents, HypernetLearner, TextLatents
from portal.train_config import Fp32Products, TaskGradients, TrainConfig
from portal.training.pack import Pack
from tests.support.bases import TASKS, make_base, make_rows, make_run
from tests.support.packs import start_of


@pytest.fixture(scope="module")
def bases() -> dict[str, Base]:
    return {
        "small": make_base("small", "qwen3", hidden=24, layers=3, seed=1),
        "wide": make_base("wide", "qwen3", hidden=32, layers=4, seed=2),
        "other": make_base("other", "gemma3", hidden=28, layers=3, seed=3),
    }


def make_pack(bases: dict[str, Base], *runs: object, source: Path | None = None) -> Pack:
    rows = {name: make_rows(base) for name, base in bases.items()}
    names = {ref.name for run in runs for ref in run.bases}
    learners = [build_learner(run, bases, rows, start=start_of(run, source)) for run in runs]
    return Pack({n: bases[n] for n in sorted(names)}, {n: rows[n] for n in names}, learners)


def advance(pack: Pack, steps: int) -> list[dict[str, float]]:
    losses = []
    for _ in range(steps):
        for learner, epoch in pack.due():
            pack.evaluate(learner, epoch)
        pack.step()
        pack.sync_metrics()
        losses.append(pack.losses)
    return losses


def gradients(learner: HypernetLearner, pack: Pack) -> dict[str, Tensor]:
    """What the optimiser is handed in the next step."""
    parameters = {"latents": learner.latents}
    parameters |= {f"core.{name}": p for name, p in learner.core.named_parameters()}
    for base, converter in learner.converters.items():
        parameters |= {f"{base}.{name}": p for name, p in converter.named_parameters()}
    found: dict[str, Tensor] = {}

    def capture(*_: object) -> None:
        found.update({name: p.grad.clone() for name, p in parameters.items()})

    handle = register_optimizer_step_pre_hook(capture)
    try:
        advance(pack, 1)
    finally:
        handle.remove()
    return found


@pytest.fixture(scope="module")
def source(bases: dict[str, Base], tmp_path_factory: pytest.TempPathFactory) -> Path:
    pack = make_pack(bases, make_run("source", "small", "wide"))
    advance(pack, 4)
    folder = tmp_path_factory.mktemp("source")
    pack.learners[0].save_artifact(folder, RunRecord.of(pack.learners[0].run))
    return folder / "small"


@pytest.mark.parametrize("method", ["hypernet", "portal", "lora"])
@pytest.mark.parametrize("name", ["wide", "other"])
def test_a_fresh_adapter_is_the_identity(
    bases: dict[str, Base], source: Path, method: str, name: str
) -> None:
    run = make_run(method, name)
    pack = make_pack(bases, run, make_run("base", name), source=source)

    adapted = pack.evaluate(pack.learners[0], 0)
    plain = pack.evaluate(pack.learners[1], 0)

    assert adapted.predictions["scores"].to_pylist() == plain.predictions["scores"].to_pylist()
    assert len(adapted.results) == len(TASKS) * 2


def test_gradients_reach_every_parameter_by_the_second_step(bases: dict[str, Base]) -> None:
    pack = make_pack(
        bases, make_run("source", "small", "wide", adapter=AdapterConfig(modules=tuple(MODULE_PATHS)))
    )
    (learner,) = pack.learners
    assert isinstance(learner, HypernetLearner)
    advance(pack, 1)

    found = gradients(learner, pack)

    silent = [name for name, gradient in found.items() if gradient.abs().sum() == 0]
    assert silent == []
    assert "latents" in found


def test_a_refit_leaves_core_and_latents_bit_equal_and_moves_the_whole_converter(
    bases: dict[str, Base], source: Path
) -> None:
    pack = make_pack(bases, make_run("portal", "other"), source=source)
    (learner,) = pack.learners
    assert isinstance(learner, HypernetLearner)
    before = {name: value.clone() for name, value in learner.converters["other"].state_dict().items()}

    advance(pack, 3)

    artifact = Artifact.load(source)
    assert torch.equal(learner.latents, artifact.tensors["task_latents"])
    for name, value in learner.core.state_dict().items():
        assert torch.equal(value, artifact.tensors[f"core.{name}"]), name
    for name, value in learner.converters["other"].state_dict().items():
        assert not torch.equal(value, before[name]), name


@pytest.mark.parametrize("layer_start", ["random", "source"])
def test_a_refits_layers_start_from_draws_or_where_the_sources_stand(
    bases: dict[str, Base], source: Path, layer_start: Literal["random", "source"]
) -> None:
    run = make_run("portal", "wide", train=TrainConfig(epochs=2, lr=1e-2, layer_start=layer_start))
    pack = make_pack(bases, run, source=source)
    (learner,) = pack.learners
    assert isinstance(learner, HypernetLearner)
    started = learner.converters["wide"].layer_embeddings.weight.clone()
    own = Artifact.load(source).layer_embeddings

    at_ends = torch.stack([started[0], started[-1]]), own[[0, -1]]
    assert torch.equal(*at_ends) == (layer_start == "source")
    assert learner.num_trained_params == sum(each.numel() for each in learner.converters["wide"].parameters())
    advance(pack, 2)
    assert not torch.equal(learner.converters["wide"].layer_embeddings.weight, started)
    assert torch.equal(Artifact.load(source).layer_embeddings, own)


def test_layers_are_spread_at_the_same_relative_depth() -> None:
    own = torch.tensor([[0.0, 4.0], [2.0, 0.0], [8.0, 1.0]])

    assert torch.equal(spread_layers(own, 3), own)
    assert spread_layers(own, 5).tolist() == [[0, 4], [1, 2], [2, 0], [5, 0.5], [8, 1]]
    assert spread_layers(own, 2).tolist() == [[0, 4], [8, 1]]
    assert spread_layers(own, 1).tolist() == [[0, 4]]
    assert spread_layers(own[:1], 3).tolist() == [[0, 4]] * 3


def test_a_learner_learns(bases: dict[str, Base]) -> None:
    pack = make_pack(bases, make_run("source", "small", "wide"), make_run("source", "small", "wide", seed=1))

    losses = advance(pack, 6)

    for key in losses[0]:
        assert losses[-1][key] < losses[0][key]


def test_a_saved_artifact_scores_as_the_learner_did(
    bases: dict[str, Base], source: Path, tmp_path: Path
) -> None:
    pack = make_pack(bases, make_run("portal", "other"), source=source)
    advance(pack, 4)
    pack.learners[0].save_artifact(tmp_path, RunRecord.of(pack.learners[0].run))

    artifact = Artifact.load(tmp_path)

    for group, pair in artifact.factors(TASKS).items():
        for ours, saved in zip(pack.learners[0].factors("other")[group], pair, strict=True):
            torch.testing.assert_close(ours, saved, atol=1e-7, rtol=1e-6)


def test_the_base_is_untouched_by_training(bases: dict[str, Base], source: Path) -> None:
    base = bases["other"]
    rows = make_rows(base).rows("sums", "test")
    before = [item.scores for item in score_rows(base, rows)]

    advance(make_pack(bases, make_run("portal", "other"), make_run("lora", "other"), source=source), 2)

    assert [item.scores for item in score_rows(base, rows)] == before
    assert all(parameter.grad is None for parameter in base.model.parameters())


KINDS: tuple[TaskGradients, ...] = ("sum", "norm_equalized")


def test_equal_norms_leave_the_latents_gradient_as_it_is(bases: dict[str, Base]) -> None:
    found = []
    for kind in KINDS:
        train = TrainConfig(epochs=1, lr=1e-2, clip_norm=1e9, task_gradients=kind)
        pack = make_pack(bases, make_run("hypernet", "small", train=train))
        (learner,) = pack.learners
        assert isinstance(learner, HypernetLearner)
        learner.core.B["q"].weight.data.normal_(std=0.1, generator=torch.Generator().manual_seed(5))
        pack.evaluate(learner, 0)
        found.append(gradients(learner, pack))

    plain, weighted = found
    torch.testing.assert_close(plain["latents"], weighted["latents"])
    assert not torch.allclose(plain["core.l1.weight"], weighted["core.l1.weight"], rtol=1e-2, atol=0)


@pytest.mark.parametrize("method", ["source", "portal"])
def test_one_task_alone_is_weighted_by_one(bases: dict[str, Base], source: Path, method: str) -> None:
    names = ("small", "wide") if method == "source" else ("other",)
    found = []
    for kind in KINDS:
        train = TrainConfig(epochs=1, lr=1e-2, task_gradients=kind)
        run = make_run(method, *names, data={"tasks": TASKS[:1]}, train=train)
        pack = make_pack(bases, run, source=source)
        advance(pack, 2)
        (learner,) = pack.learners
        found.append(learner.tensors())

    plain, weighted = found
    for name, tensor in plain.items():
        torch.testing.assert_close(tensor, weighted[name], rtol=1e-3, atol=1e-4, msg=name)


def test_factor_decay_is_the_gradient_of_half_the_squared_norm_of_the_factors(bases: dict[str, Base]) -> None:
    decay, found = 0.3, []
    for factor_decay in (0.0, decay):
        train = TrainConfig(epochs=1, lr=1e-2, clip_norm=1e9, factor_decay=factor_decay)
        pack = make_pack(bases, make_run("hypernet", "small", train=train))
        (learner,) = pack.learners
        assert isinstance(learner, HypernetLearner)
        learner.core.B["q"].weight.data.normal_(std=0.1, generator=torch.Generator().manual_seed(5))
        pack.evaluate(learner, 0)
        factors = learner.factors("small")
        penalty = sum(factor.square().sum() for pair in factors.values() for factor in pair) / 2
        expected = torch.autograd.grad(penalty, [learner.core.l1.weight, learner.latents])
        found.append(gradients(learner, pack))

    plain, decayed = found
    for name, gradient in zip(("core.l1.weight", "latents"), expected, strict=True):
        torch.testing.assert_close(decayed[name] - plain[name], decay * gradient, rtol=1e-3, atol=1e-5)


def taking_turns(bases: dict[str, Base], tasks_per_step: int | None) -> Learner:
    train = TrainConfig(epochs=4, batch_size=2, lr=1e-2, tasks_per_step=tasks_per_step)
    return make_pack(bases, make_run("hypernet", "small", train=train)).learners[0]


def rows_by_step(learner: Learner) -> list[dict[str, object]]:
    """The rows of each task that takes part in a step, for every step."""
    found = []
    for step in range(learner.num_steps):
        learner.step = step
        found.append({TASKS[part.slot]: part.rows for part in learner.slot_rows("small", 0)})
    return found


def test_tasks_that_take_turns_see_the_rows_that_they_see_in_every_step(bases: dict[str, Base]) -> None:
    whole, turns = (rows_by_step(taking_turns(bases, each)) for each in (None, 1))

    assert len(turns) == len(TASKS) * len(whole)
    for task in TASKS:
        assert [step[task] for step in turns if task in step] == [step[task] for step in whole]


def test_a_turn_has_every_task_once_in_an_order_of_its_own(bases: dict[str, Base]) -> None:
    steps = [tuple(step) for step in rows_by_step(taking_turns(bases, 2))]

    turns = [first + second for first, second in zip(steps[::2], steps[1::2], strict=True)]
    assert all(sorted(turn) == sorted(TASKS) for turn in turns)
    assert len(set(turns)) > 1


@pytest.mark.parametrize(("products", "setting"), [({}, "tf32"), ({"hypernet_products": "fp32"}, "ieee")])
@pytest.mark.parametrize("task_gradients", ["sum", "norm_equalized"])
def test_a_gpu_makes_the_hypernetworks_products_as_the_run_says_and_no_others(
    bases: dict[str, Base], products: dict[str, Fp32Products], setting: str, task_gradients: TaskGradients
) -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    train = TrainConfig(epochs=1, task_gradients=task_gradients, **products)
    pack = make_pack(bases, make_run("hypernet", "small", train=train))
    layer = pack.learners[0].core.l1
    seen: dict[str, set[str]] = {"forward": set(), "backward": set(), "base": set()}
    layer.register_forward_pre_hook(lambda *_: seen["forward"].add(matmul.fp32_precision))
    layer.weight.register_hook(lambda _: seen["backward"].add(matmul.fp32_precision))
    hook = bases["small"].model.register_forward_pre_hook(lambda *_: seen["base"].add(matmul.fp32_precision))

    advance(pack, 2)
    hook.remove()

    assert seen == {"forward": {setting}, "backward": {setting}, "base": {before}}
    assert matmul.fp32_precision == before


WIDTH, D_TEXT, COUNT = 5, 4, 3
TRAIN = TrainConfig(lr=1e-3, lr_latent=1e-2)


def text_latents(*, dropout: float, phrasings: int = 2, seed: int = 0) -> TextLatents:
    generator = torch.Generator().manual_seed(1)
    embeddings = [torch.randn(phrasings, D_TEXT, generator=generator) for _ in range(COUNT)]
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
        latents.own.copy_(torch.randn(COUNT, WIDTH, generator=generator))
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
    weight_TZ = torch.arange(float(COUNT * WIDTH)).reshape(COUNT, WIDTH) + 1
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
    free = FreeLatents(nn.Parameter(torch.ones(COUNT, WIDTH)))
    held = FreeLatents(nn.Parameter(torch.ones(COUNT, WIDTH), requires_grad=False))

    assert free.leaf(0) is free.values
    free.receive(0, torch.full((COUNT, WIDTH), 2.0))
    assert torch.equal(free.values.grad, torch.full((COUNT, WIDTH), 2.0))
    assert free.rates(TRAIN) == [([free.values], TRAIN.lr_latent)]
    assert held.rates(TRAIN) == []
    assert held.tensors() == {}
