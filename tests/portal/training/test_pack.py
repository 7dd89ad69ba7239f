"""A pack is exact: on a CPU neither other learners nor an interruption change a bit; replicas are alike."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from portal.bases.base import Base
from portal.data.token_rows import RowTable
from portal.device import torch_threads
from portal.results import PREDICTIONS, RESULTS
from portal.train_config import TrainConfig
from portal.training.pack import SYNC_STEPS, Pack, align_replicas
from portal.training.worker_group import WorkerGroup
from tests.support.bases import make_base, make_row, make_rows, make_run
from tests.support.groups import on_group, shared_pack
from tests.support.packs import (
    FinishedPack,
    assert_as_alone,
    assert_others_go_on,
    assert_same_ends,
    interrupted_run,
    make_pack,
    mixed_runs,
    run_to_end,
)
from tests.support.zoo import tiny_base


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_a_learner_in_a_pack_follows_the_learner_alone(
    bases: dict[str, Base], source: Path, threads: int
) -> None:
    with torch_threads(threads):
        assert_as_alone(bases, source, mixed_runs())


def test_joint_training_in_a_pack_follows_the_one_alone(bases: dict[str, Base], source: Path) -> None:
    assert_as_alone(bases, source, [make_run("source", "small", "target", seed=seed) for seed in (0, 1)])


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", range(10))
def test_a_resumed_pack_equals_an_uninterrupted_one_bit_for_bit(
    bases: dict[str, Base], source: Path, mixed_end: FinishedPack, stop_after: int, tmp_path: Path
) -> None:
    found = interrupted_run(bases, mixed_runs(), source, stop_after=stop_after, folder=tmp_path)

    assert_same_ends(found, mixed_end)


def test_a_learner_that_diverges_leaves_and_the_others_go_on(bases: dict[str, Base], source: Path) -> None:
    assert_others_go_on(bases, source)


def test_a_learner_that_diverges_between_two_waits_for_the_device_is_found_where_it_did(
    bases: dict[str, Base], source: Path
) -> None:
    train = TrainConfig(epochs=30, lr=1e-2, evaluate="last_epoch", rounds_per_epoch=1)
    runs = [make_run("portal", "target", seed=seed, train=train) for seed in (0, 1)]
    pack = make_pack(bases, runs, source)
    good, bad = pack.learners
    while bad.step < SYNC_STEPS + 3:
        pack.step()
    kept = {name: tensor.clone() for name, tensor in bad.tensors().items() if not name.startswith("ema/")}
    bad.converters["target"].input["q"].data.fill_(torch.inf)
    kept["converter/target/input.q"].fill_(torch.inf)

    while bad in pack.active:
        pack.step()

    assert good.step == 2 * SYNC_STEPS
    assert bad.step == SYNC_STEPS + 3
    assert f"step {SYNC_STEPS + 3}: the loss of task" in pack.failed[bad.run.key]
    assert all(torch.equal(bad.tensors()[name], tensor) for name, tensor in kept.items())
    assert set(pack.losses) == {good.run.key, bad.run.key}
    pack.step()
    assert good.step == 2 * SYNC_STEPS + 1


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("lora", ["target"]),
        ("portal", ["target"]),
        ("source", ["small", "target"]),
        ("lora", ["llama"]),
        ("lora", ["gpt2"]),
    ],
)
def test_a_step_reads_nothing_back_from_the_device(
    bases: dict[str, Base], source: Path, method: str, names: list[str]
) -> None:
    there = {**bases, "llama": make_base("llama", "llama"), "gpt2": tiny_base("gpt2")}  # no masks of ours
    pack = make_pack(there, [make_run(method, *names)], source)
    (learner,) = pack.learners
    learner.scored.update(learner.owed())

    with FakeTensorMode(allow_non_fake_inputs=True):  # tensors without values: reading one is an error
        pack.step()
        with pytest.raises(DataDependentOutputException):
            pack.sync_metrics()

    assert learner.step == 1


def test_recomputed_activations_change_no_result(
    bases: dict[str, Base], source: Path, mixed_end: FinishedPack
) -> None:
    pack = make_pack(bases, mixed_runs(), source)
    calls: list[bool] = []
    layer = bases["target"].model.get_submodule(bases["target"].layers[0]).mlp
    handle = layer.register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    again = Pack(
        {"target": bases["target"]},
        {"target": make_rows(bases["target"])},
        pack.learners,
        activations="recompute",
    )

    results = run_to_end(again)

    handle.remove()
    steps = max(learner.num_steps for learner in pack.learners)
    assert sum(calls) >= 2 * steps  # every forward with a gradient runs twice
    for key, rows in results.items():
        for ours, theirs in zip(rows, mixed_end.results[key], strict=True):
            assert ours["log_loss"] == theirs["log_loss"]


@pytest.mark.parametrize("method", ["lora", "portal", "source"])
def test_a_packs_gradients_are_those_of_the_learner_alone(
    bases: dict[str, Base], source: Path, method: str
) -> None:
    """What the optimiser is handed in the first steps, bit for bit."""
    run = make_run(method, "target")
    others = [other for other in mixed_runs() if other.key != run.key]
    alone, together = (make_pack(bases, runs, source) for runs in ([run], [*others[:3], run, *others[3:]]))
    found = []
    for pack in (alone, together):
        (learner,) = [learner for learner in pack.learners if learner.key == run.key]
        (optimiser,) = learner.optimisers
        seen: list[list[torch.Tensor]] = []

        def capture(adamw: torch.optim.Optimizer, *_: object, seen: list[list[torch.Tensor]] = seen) -> None:
            seen.append([p.grad.clone() for group in adamw.param_groups for p in group["params"]])

        handle = optimiser._adamw.register_step_pre_hook(capture)
        for _ in range(2):
            for owner, epoch in pack.due():
                pack.evaluate(owner, epoch)
            pack.step()
        handle.remove()
        found.append(seen)

    for own, packed in zip(*found, strict=True):
        assert any(gradient.any() for gradient in own)
        for gradient, other in zip(own, packed, strict=True):
            assert torch.equal(gradient, other)


@pytest.mark.parametrize("method", ["lora", "portal", "source"])
def test_an_infinite_gradient_changes_nothing(bases: dict[str, Base], source: Path, method: str) -> None:
    pack = make_pack(bases, [make_run(method, "target")], source)
    (learner,) = pack.learners
    before = {name: tensor.clone() for name, tensor in learner.tensors().items()}
    factors = learner.factors("target")
    gradients = {
        group: tuple(torch.full_like(f, float("inf")) for f in pair) for group, pair in factors.items()
    }
    learner.backward("target", factors, gradients)

    norms = learner.update(torch.zeros(1))

    assert learner.broken == 1
    assert not torch.isfinite(norms).any()
    after = learner.tensors()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=0, equal_nan=True)  # an unset average
    assert all(not after[name].any() for name in after.keys() - before.keys())  # moments at their start


def test_results_and_predictions_fit_their_schemas(bases: dict[str, Base], source: Path) -> None:
    import pyarrow as pa

    pack = make_pack(bases, mixed_runs(), source)
    for learner, epoch in pack.due():
        evaluation = pack.evaluate(learner, epoch)
        table = pa.Table.from_pylist([row | {"study": ""} for row in evaluation.results], schema=RESULTS)
        assert table.num_rows == 6
        assert evaluation.predictions.schema.equals(PREDICTIONS)
        assert evaluation.predictions.num_rows == sum(row["num_examples"] for row in evaluation.results)


def test_a_run_on_all_rows_says_how_many_there_were(bases: dict[str, Base], source: Path) -> None:
    run = make_run("portal", "target", data={"size": None})
    pack = make_pack(bases, [run], source)
    (learner,) = pack.learners

    rows = pack.evaluate(learner, 0).results

    counts = [len(make_rows(bases["target"]).rows(task, "train")) for task in learner.tasks]
    assert {row["size"] for row in rows} == {max(counts)}


def test_last_epoch_evaluation_is_owed_once(bases: dict[str, Base], source: Path) -> None:
    run = make_run("portal", "target", train=TrainConfig(epochs=3, lr=1e-2, evaluate="last_epoch"))

    results = run_to_end(make_pack(bases, [run], source))[run.key]

    assert {row["epoch"] for row in results} == {3}


def test_rows_of_another_tokenizer_are_refused_before_the_first_step(bases: dict[str, Base]) -> None:
    rows = RowTable([make_row(prompt=(1, 2, 128), choices=((3,), (4,)))])

    with pytest.raises(ValueError, match="knows 128 tokens, its rows use id 128"):
        Pack({"target": bases["target"]}, {"target": rows}, [])


Found = tuple[list[str], list[str], dict[str, dict[str, Tensor]]]


def test_a_learner_that_differs_by_a_bit_takes_the_leaders_state_and_no_other_is_touched(
    bases: dict[str, Base], source: Path
) -> None:
    runs = [
        make_run(method, "target", seed=seed, train=TrainConfig(epochs=1, lr=1e-2))
        for method, seed in (("portal", 0), ("lora", 0), ("lora", 1))
    ]

    def work(group: WorkerGroup) -> Found:
        pack = shared_pack(bases, runs, source, group)
        run_to_end(pack)
        before = [learner.key for learner in align_replicas(pack.learners, group)]
        if group.rank == 1:
            for learner in pack.learners[:2]:
                value = list(learner.tensors().values())[-1]
                value.view(-1)[0] = torch.nextafter(value.view(-1)[0], torch.tensor(9.0))
        unlike = [learner.key for learner in align_replicas(pack.learners, group)]
        return before, unlike, {learner.key: learner.tensors() for learner in pack.learners}

    (before, unlike, leader), (_, same, other) = on_group(2, work)

    assert before == []
    assert unlike == same == [runs[0].key, runs[1].key]
    for key, tensors in leader.items():
        assert all(torch.equal(other[key][name], value) for name, value in tensors.items())


def test_a_worker_alone_has_nothing_to_compare(bases: dict[str, Base], source: Path) -> None:
    pack = shared_pack(bases, [make_run("portal", "target")], source, WorkerGroup())

    assert align_replicas(pack.learners, WorkerGroup()) == []
