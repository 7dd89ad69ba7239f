"""A port that is calibrated on some tasks: the others are scored without a row of them."""

from pathlib import Path

import pytest
import torch

from portal.artifacts.artifact import Artifact
from portal.data.token_rows import RowTable
from portal.learners.base import build_learner
from portal.learners.hypernet import HypernetLearner
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import TASKS, make_rows, make_run
from tests.support.packs import FinishedPack, Tiny, run_to_end, start_of

FIRST = TASKS[:1]
BEST = TrainConfig(epochs=3, lr=1e-2, keep="best_validation")
HALF = make_run("portal", "target", data={"calibrated": FIRST})
ALONE = make_run("portal", "target", data={"tasks": FIRST})


@pytest.fixture(scope="module")
def half(tiny: Tiny) -> FinishedPack:
    """A port that is calibrated on the first task, at its end."""
    return tiny.ended(HALF)


def test_training_rows_of_other_tasks_are_never_read(tiny: Tiny, half: FinishedPack) -> None:
    rows = make_rows(tiny.bases["target"])
    few = RowTable(row for row in rows.all() if row.task in FIRST or row.split != "train")
    learner = build_learner(HALF, tiny.bases, {"target": few}, start=start_of(HALF, tiny.source))

    found = run_to_end(Pack({"target": tiny.bases["target"]}, {"target": few}, [learner]))

    assert scores(found[HALF.key]) == scores(half.rows)


def scores(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return [(row["task"], row["epoch"], row["split"], row["acc_norm"], row["log_loss"]) for row in rows]


def test_every_task_is_scored_and_its_rows_say_whether_it_was_trained_on(
    tiny: Tiny, half: FinishedPack
) -> None:
    assert HALF.data.size is not None
    given = min(HALF.data.size, len(make_rows(tiny.bases["target"]).rows(TASKS[0], "train")))
    found = {(row["task"], row["calibrated"], row["train_rows"]) for row in half.rows}
    assert found == {(task, task in FIRST, given if task in FIRST else 0) for task in TASKS}
    for task in TASKS:
        assert sum(row["task"] == task for row in half.rows) == 3 * 2  # epochs 0 to 2, two splits
        after = {row["log_loss"] for row in half.rows if (row["task"], row["split"]) == (task, "test")}
        assert len(after) == 3, "the converter changes tasks without a row, too"


def test_the_converter_is_the_one_that_the_calibrated_tasks_alone_would_train(
    tiny: Tiny, half: FinishedPack
) -> None:
    ours, theirs = half.learner, tiny.ended(ALONE).learner
    assert isinstance(ours, HypernetLearner)
    assert isinstance(theirs, HypernetLearner)

    converters = [each.converters["target"].state_dict() for each in (ours, theirs)]
    torch.testing.assert_close(*converters, rtol=1e-4, atol=1e-6)


def test_the_artifact_has_every_latent_of_its_source_and_says_which_tasks_were_calibrated(
    tiny: Tiny, tmp_path: Path
) -> None:
    for name, run in {"half": HALF, "fewer": ALONE}.items():
        artifact, origin = tiny.saved(run, tmp_path / name), Artifact.load(tiny.source)
        assert artifact.config.tasks == origin.config.tasks == TASKS
        assert torch.equal(artifact.tensors["task_latents"], origin.tensors["task_latents"])
        assert artifact.calibrated == FIRST
        for task in TASKS:
            artifact.export_peft(task, tmp_path / name / task)


def test_tasks_without_a_row_do_not_vote_and_share_the_kept_epoch(tiny: Tiny) -> None:
    end = tiny.ended(HALF.model_copy(update={"train": BEST}))
    voting = {
        row["epoch"]: (-row["acc_norm"], row["log_loss"], row["epoch"])
        for row in end.rows
        if (row["task"], row["split"]) == (FIRST[0], "validation") and row["epoch"]
    }

    assert end.learner.restore_kept() == dict.fromkeys(TASKS, min(voting, key=voting.__getitem__))


def test_a_method_that_shares_nothing_between_tasks_or_trains_their_latents_needs_rows_of_all() -> None:
    for method in ("lora", "hypernet", "source", "base"):
        takers = rf"data\.calibrated is for method 'shared_lora' or 'portal', not for {method!r}"
        with pytest.raises(ValueError, match=takers):
            make_run(method, "target", data={"calibrated": FIRST})
    with pytest.raises(ValueError, match="calibrated: no task 'colour'; did you mean 'colours'"):
        make_run("portal", "target", data={"calibrated": ("colour",)})
