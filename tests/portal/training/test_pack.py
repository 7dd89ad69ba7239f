"""A learner that diverges leaves its pack alone, a step waits for no device, and replicas are alike."""

from dataclasses import replace

import pyarrow as pa
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.results import PREDICTIONS, RESULTS
from portal.train_config import TrainConfig
from portal.training.pack import SYNC_STEPS, Pack, align_replicas
from portal.training.worker_group import WorkerGroup
from tests.support.bases import TASKS, make_base, make_row, make_rows, make_run
from tests.support.groups import on_group, shared_pack
from tests.support.packs import FinishedPack, Tiny, assert_others_go_on, mixed_runs, run_to_end
from tests.support.zoo import tiny_base


def test_a_learner_that_diverges_leaves_and_the_others_go_on(tiny: Tiny) -> None:
    assert tiny.source is not None
    assert_others_go_on(tiny.bases, tiny.source)


def test_a_learner_that_diverges_between_two_waits_for_the_device_is_found_where_it_did(tiny: Tiny) -> None:
    train = TrainConfig(epochs=30, lr=1e-2, evaluate="last_epoch", rounds_per_epoch=1)
    pack = tiny.pack(*(make_run("portal", "target", seed=seed, train=train) for seed in (0, 1)))
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
    "run",
    [
        *(make_run("lora", base) for base in ("target", "llama", "gpt2")),
        make_run("portal", "target"),
        make_run("source", "small", "target"),
    ],
    ids=RunConfig.describe,
)
def test_a_step_reads_nothing_back_from_the_device(tiny: Tiny, run: RunConfig) -> None:
    more = {"llama": make_base("llama", "llama"), "gpt2": tiny_base("gpt2")}  # no masks of ours
    pack = replace(tiny, bases=tiny.bases | more).pack(run)
    (learner,) = pack.learners
    learner.scored.update(learner.owed())

    with FakeTensorMode(allow_non_fake_inputs=True):  # tensors without values: reading one is an error
        pack.step()
        with pytest.raises(DataDependentOutputException):
            pack.sync_metrics()

    assert learner.step == 1


def test_recomputed_activations_change_no_result(tiny: Tiny, mixed_end: FinishedPack) -> None:
    base, learners = tiny.bases["target"], tiny.pack(*mixed_runs()).learners
    pack = Pack({"target": base}, {"target": make_rows(base)}, learners, activations="recompute")
    calls: list[bool] = []
    layer = base.model.get_submodule(base.layers[0]).mlp

    with layer.register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled())):
        results = run_to_end(pack)

    steps = max(learner.num_steps for learner in learners)
    assert sum(calls) >= 2 * steps  # every forward with a gradient runs twice
    for key, rows in results.items():
        for ours, theirs in zip(rows, mixed_end.results[key], strict=True):
            assert ours["log_loss"] == theirs["log_loss"]


@pytest.mark.parametrize("method", ["lora", "portal", "source"])
def test_an_infinite_gradient_changes_nothing(tiny: Tiny, method: str) -> None:
    learner = tiny.learner(make_run(method, "target"))
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


def test_results_and_predictions_fit_their_schemas(tiny: Tiny) -> None:
    pack = tiny.pack(*mixed_runs())
    for learner, epoch in pack.due():
        evaluation = pack.evaluate(learner, epoch)
        table = pa.Table.from_pylist([row | {"study": ""} for row in evaluation.results], schema=RESULTS)
        assert table.num_rows == 6
        assert evaluation.predictions.schema.equals(PREDICTIONS)
        assert evaluation.predictions.num_rows == sum(row["num_examples"] for row in evaluation.results)


def test_a_run_on_all_rows_says_how_many_there_were_and_its_last_epoch_is_owed_once(tiny: Tiny) -> None:
    train = TrainConfig(epochs=3, lr=1e-2, evaluate="last_epoch")

    rows = tiny.ended(make_run("portal", "target", data={"size": None}, train=train)).rows

    table = make_rows(tiny.bases["target"])
    most = max(len(table.rows(task, "train")) for task in TASKS)
    assert {(row["size"], row["epoch"]) for row in rows} == {(most, 3)}


def test_rows_of_another_tokenizer_are_refused_before_the_first_step(tiny: Tiny) -> None:
    rows = RowTable([make_row(prompt=(1, 2, 128), choices=((3,), (4,)))])

    with pytest.raises(ValueError, match="knows 128 tokens, its rows use id 128"):
        Pack({"target": tiny.bases["target"]}, {"target": rows}, [])


Found = tuple[list[str], list[str], dict[str, dict[str, Tensor]]]


def test_a_learner_that_differs_by_a_bit_takes_the_leaders_state_and_no_other_is_touched(tiny: Tiny) -> None:
    runs = [
        make_run(method, "target", seed=seed, train=TrainConfig(epochs=1, lr=1e-2))
        for method, seed in (("portal", 0), ("lora", 0), ("lora", 1))
    ]

    def work(group: WorkerGroup) -> Found:
        pack = shared_pack(tiny, runs, group)
        run_to_end(pack)
        before = [learner.key for learner in align_replicas(pack.learners, group)]
        if group.rank == 1:
            for learner in pack.learners[:2]:
                value = list(learner.tensors().values())[-1]
                value.view(-1)[0] = torch.nextafter(value.view(-1)[0], torch.tensor(9.0))
        unlike = [learner.key for learner in align_replicas(pack.learners, group)]
        return before, unlike, {learner.key: learner.tensors() for learner in pack.learners}

    (before, unlike, leader), (_, same, other) = on_group(2, work)
    assert align_replicas([tiny.learner(runs[0])], WorkerGroup()) == []  # alone there is nothing to compare

    assert before == []
    assert unlike == same == [runs[0].key, runs[1].key]
    for key, tensors in leader.items():
        assert all(torch.equal(other[key][name], value) for name, value in tensors.items())
