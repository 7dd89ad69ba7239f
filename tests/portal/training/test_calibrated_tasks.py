"""A port that is calibrated on some tasks: the others are scored without a row of them."""

from pathlib import Path

import pytest
import torch

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.learners.base import build_learner
from portal.learners.hypernet import HypernetLearner
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import TASKS, make_rows, make_run
from tests.support.packs import make_pack, run_to_end, start_of

FIRST = TASKS[:1]
BEST = TrainConfig(epochs=3, lr=1e-2, keep="best_validation")
HALF = make_run("portal", "target", data={"calibrated": FIRST})


def test_training_rows_of_other_tasks_are_never_read(bases: dict[str, Base], source: Path) -> None:
    rows = make_rows(bases["target"])
    others = [row for row in rows.all() if not (row.task in TASKS[1:] and rows_has(rows, row.task, row))]
    few = RowTable(others)
    learner = build_learner(HALF, bases, {"target": few}, start=start_of(HALF, source))

    found = run_to_end(Pack({"target": bases["target"]}, {"target": few}, [learner]))

    whole = run_to_end(make_pack(bases, [HALF], source))
    assert scores(found[HALF.key]) == scores(whole[HALF.key])


def rows_has(rows: RowTable, task: str, row: object) -> bool:
    return any(each is row for each in rows.rows(task, "train"))


def scores(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return [(row["task"], row["epoch"], row["split"], row["acc_norm"], row["log_loss"]) for row in rows]


def test_every_task_is_scored_and_its_rows_say_whether_it_was_trained_on(
    bases: dict[str, Base], source: Path
) -> None:
    results = run_to_end(make_pack(bases, [HALF], source))[HALF.key]

    assert {(row["task"], row["calibrated"]) for row in results} == {(task, task in FIRST) for task in TASKS}
    assert HALF.data.size is not None
    given = min(HALF.data.size, len(make_rows(bases["target"]).rows(TASKS[0], "train")))
    assert {(row["task"], row["train_rows"]) for row in results} == {
        (task, given if task in FIRST else 0) for task in TASKS
    }
    for task in TASKS:
        assert sum(row["task"] == task for row in results) == 3 * 2  # epochs 0 to 2, two splits
        after = {row["log_loss"] for row in results if (row["task"], row["split"]) == (task, "test")}
        assert len(after) == 3, "the converter changes tasks without a row, too"


def test_the_converter_is_the_one_that_the_calibrated_tasks_alone_would_train(
    bases: dict[str, Base], source: Path
) -> None:
    alone = make_run("portal", "target", data={"tasks": FIRST})
    half, only = (make_pack(bases, [run], source) for run in (HALF, alone))
    run_to_end(half)
    run_to_end(only)

    for ours, theirs in zip(converter_of(half), converter_of(only), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def converter_of(pack: Pack) -> list[torch.Tensor]:
    (learner,) = pack.learners
    assert isinstance(learner, HypernetLearner)
    return list(learner.converters["target"].state_dict().values())


def test_the_artifact_has_every_latent_of_its_source_and_says_which_tasks_were_calibrated(
    bases: dict[str, Base], source: Path, tmp_path: Path
) -> None:
    for name, run in (("half", HALF), ("fewer", make_run("portal", "target", data={"tasks": FIRST}))):
        pack = make_pack(bases, [run], source)
        run_to_end(pack)
        pack.learners[0].save_artifact(tmp_path / name, RunRecord.of(run))

        artifact, origin = Artifact.load(tmp_path / name), Artifact.load(source)

        assert artifact.config.tasks == origin.config.tasks == TASKS
        assert torch.equal(artifact.tensors["task_latents"], origin.tensors["task_latents"])
        assert artifact.record is not None
        assert {task for task, each in artifact.record.tasks.items() if each.calibrated} == set(FIRST)
        for task in TASKS:
            artifact.export_peft(task, tmp_path / f"{name}-{task}")


def test_tasks_without_a_row_do_not_vote_and_share_the_kept_epoch(
    bases: dict[str, Base], source: Path
) -> None:
    run = HALF.model_copy(update={"train": BEST})
    pack = make_pack(bases, [run], source)
    results = run_to_end(pack)[run.key]
    voting = {
        row["epoch"]: (-row["acc_norm"], row["log_loss"], row["epoch"])
        for row in results
        if (row["task"], row["split"]) == (FIRST[0], "validation") and row["epoch"]
    }

    assert pack.learners[0].restore_kept() == dict.fromkeys(TASKS, min(voting, key=voting.__getitem__))


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(bases: dict[str, Base], source: Path) -> None:
    run = HALF.model_copy(update={"train": BEST})
    unbroken, first, second = (make_pack(bases, [run], source) for _ in range(3))
    run_to_end(unbroken)
    for _ in range(2):
        for learner, epoch in first.due():
            first.evaluate(learner, epoch)
        first.step()
    tensors, meta = first.learners[0].state()
    second.learners[0].restore({name: tensor.clone() for name, tensor in tensors.items()}, meta)
    run_to_end(second)

    expected = unbroken.learners[0].tensors()
    for name, tensor in second.learners[0].tensors().items():
        assert torch.equal(tensor.nan_to_num(-1), expected[name].nan_to_num(-1)), name  # NaN: no loss yet


@pytest.mark.parametrize("method", ["lora", "hypernet", "source", "base"])
def test_a_method_that_shares_nothing_between_tasks_or_trains_their_latents_needs_rows_of_all(
    method: str,
) -> None:
    takers = "'shared_lora' or 'portal'"
    with pytest.raises(ValueError, match=rf"data\.calibrated is for method {takers}, not for {method!r}"):
        make_run(method, "target", data={"calibrated": FIRST})


def test_a_calibrated_task_must_be_one_of_the_runs_tasks() -> None:
    with pytest.raises(ValueError, match="calibrated: no task 'colour'; did you mean 'colours'"):
        make_run("portal", "target", data={"calibrated": ("colour",)})


def test_all_tasks_give_the_key_that_such_runs_always_had() -> None:
    plain = make_run("portal", "target")

    assert "calibrated" not in plain.canonical_json()
    assert RunConfig.model_validate(plain.model_dump()).key == plain.key != HALF.key
