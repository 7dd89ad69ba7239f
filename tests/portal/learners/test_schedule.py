"""Steps, epochs and evaluations follow from the recipe and the number of batches; rows from the step."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from portal.data.token_rows import RowTable
from portal.learners.schedule import DataOrder, TrainingSchedule
from portal.train_config import TrainConfig
from tests.support.bases import make_row, make_run

RECIPES = st.builds(
    TrainConfig,
    epochs=st.integers(1, 6),
    rounds_per_epoch=st.none() | st.integers(1, 7),
    min_steps=st.integers(0, 40),
    evaluate_every=st.none() | st.integers(1, 30),
    tasks_per_step=st.none() | st.integers(1, 3),
)
BATCHES = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 9), min_size=1)


def evaluations(schedule: TrainingSchedule, task: str) -> list[tuple[int, int]]:
    """(step, epoch) of every evaluation of the task, in order."""
    due = [(step, schedule.evaluation_due(task, step)) for step in range(schedule.task_steps(task) + 1)]
    return [(step, epoch) for step, epoch in due if epoch is not None]


@given(RECIPES, BATCHES, st.booleans())
def test_every_task_is_evaluated_first_and_last_and_as_far_apart_as_is_asked_give_or_take_an_epoch(
    train: TrainConfig, batches: dict[str, int], joint: bool
) -> None:
    schedule = TrainingSchedule(train, batches, joint)
    every = train.evaluate_every or 1

    for task in batches:
        found, rounds = evaluations(schedule, task), schedule.rounds_per_epoch(task)
        steps = [step for step, _ in found]
        assert found[0] == (0, 0)
        assert found[-1] == (schedule.task_steps(task), schedule.num_epochs(task))
        assert len(found) == schedule.num_evaluations(task)
        assert all(step == epoch * rounds for step, epoch in found)
        assert schedule.task_steps(task) >= train.min_steps
        multiples = [step // every for step in steps[:-1]]
        assert multiples == sorted(set(multiples)), "two evaluations within the same multiple"
        assert all(later - earlier < every + rounds for earlier, later in pairwise(steps))


def test_in_joint_training_shorter_tasks_are_recycled_and_without_a_recipe_there_are_no_steps() -> None:
    for joint, steps in ((True, {"a": 10, "b": 10}), (False, {"a": 10, "b": 4})):
        schedule = TrainingSchedule(TrainConfig(epochs=2), {"a": 5, "b": 2}, joint)
        assert {task: schedule.task_steps(task) for task in "ab"} == steps
    none = TrainingSchedule(None, {"a": 3}, joint=True)
    assert (none.num_steps, none.evaluation_due("a", 0), none.num_evaluations("a")) == (0, 0, 1)


ANSWER_TOKENS = {"colours": 1, "sums": 2, "names": 6}


def order(**settings: object) -> DataOrder:
    rows = RowTable(
        replace(
            make_row((1, 2), ((3,) * tokens, (4,) * tokens), task=task, name=f"{index:02d}"), split="train"
        )
        for task, tokens in ANSWER_TOKENS.items()
        for index in range(24)
    )
    run = make_run("hypernet", "small", train=TrainConfig(batch_size=4, **settings))
    return DataOrder(
        run.model_copy(update={"data": run.data.model_copy(update={"size": None})}), {"small": rows}
    )


def test_every_task_has_a_batch_of_its_own_rows_with_like_answer_tokens_where_these_are_balanced() -> None:
    for own, sizes in (
        (order(), {"colours": 4, "sums": 4, "names": 4}),
        (order(balance="answer_tokens"), {"colours": 7, "sums": 4, "names": 1}),  # 7, 8 and 6 tokens
    ):
        assert {task: len(own.batch("small", task, 0)) for task in ANSWER_TOKENS} == sizes
        assert own.batches == {task: -(-24 // size) for task, size in sizes.items()}
        for task, batches in own.batches.items():
            seen = [row.id for step in range(batches) for row in own.batch("small", task, step)]
            assert sorted(seen) == [f"{index:02d}" for index in range(24)]
