"""How many rows of each task a step has."""

from dataclasses import replace

from portal.data.token_rows import RowTable
from portal.learners.data_order import DataOrder
from portal.train_config import TrainConfig
from tests.support.bases import make_row, make_run

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


def test_every_task_has_a_batch_of_its_own_rows() -> None:
    own = order()

    assert {task: len(own.batch("small", task, 0)) for task in ANSWER_TOKENS} == dict.fromkeys(
        ANSWER_TOKENS, 4
    )
    assert own.batches == dict.fromkeys(ANSWER_TOKENS, 6)


def test_tasks_have_like_answer_tokens_where_these_are_balanced() -> None:
    own = order(balance="answer_tokens")

    sizes = {task: len(own.batch("small", task, 0)) for task in ANSWER_TOKENS}
    assert sizes == {"colours": 7, "sums": 4, "names": 1}  # 7, 8 and 6 tokens; 4, 8 and 24 before
    assert own.batches == {"colours": 4, "sums": 6, "names": 24}


def test_a_pass_has_every_row_once_however_steps_are_balanced() -> None:
    own = order(balance="answer_tokens")

    for task, batches in own.batches.items():
        seen = [row.id for step in range(batches) for row in own.batch("small", task, step)]
        assert sorted(seen) == [f"{index:02d}" for index in range(24)]
