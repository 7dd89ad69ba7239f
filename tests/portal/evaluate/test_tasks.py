"""Whole tasks, of choices and of written answers: the end token is scored, and each has its metric."""

from collections.abc import Sequence

import pytest
import torch

from portal.answers import AnswerConfig
from portal.bases.base import Base
from portal.data.suites import load_suite
from portal.data.token_rows import TokenRow, encode_examples
from portal.evaluate.loglikelihood import score_rows, summarise
from portal.evaluate.tasks import score_tasks
from portal.tasks.example import Example


def rows_of(base: Base, examples: Sequence[Example]) -> list[TokenRow]:
    return encode_examples(((example, "test") for example in examples), base.tokenizer, max_prompt=64)


def test_log_loss_is_of_all_tokens_of_right_answers_and_of_their_end(base: Base) -> None:
    rows = rows_of(base, load_suite("ledger").examples("home_1", "test")[:5])
    (metrics,) = score_tasks(base, {"home_1": rows}, {"home_1": AnswerConfig(max_new_tokens=2)}).values()

    total, count = 0.0, 0
    for row in rows:
        assert row.gold_ids[-1] == base.tokenizer.eos_token_id
        ids_1T = torch.tensor([row.gold_ids])
        labels_1T = ids_1T.clone()
        labels_1T[:, : len(row.prompt)] = -100
        with torch.inference_mode():
            loss = base.model(input_ids=ids_1T, labels=labels_1T, use_cache=False).loss
        length = len(row.gold_ids) - len(row.prompt)
        total, count = total + loss.item() * length, count + length
    assert metrics.log_loss == pytest.approx(total / count, rel=1e-5)
    assert metrics.gold_tokens == count


def test_tasks_of_both_kinds_have_a_score_each(base: Base) -> None:
    rows = {
        "home_1": rows_of(base, load_suite("ledger").examples("home_1", "test")[:6]),
        "counting": rows_of(base, load_suite("mini").examples("counting", "test")[:6]),
    }
    answers = load_suite("ledger").answer_of("home_1")
    assert answers is not None
    found = score_tasks(base, rows, {"home_1": answers})

    assert found["counting"] == summarise(score_rows(base, rows["counting"]))
    assert (found["counting"].metric, found["counting"].score) == (
        "acc_norm", found["counting"].acc_norm["chars"],
    )  # fmt: skip
    written = found["home_1"]
    assert (written.metric, written.acc, written.acc_norm) == ("exact_match", None, {})
    assert (written.chance, written.ties, written.num_examples) == (0.0, 0, 6)
    assert 0 <= written.unended <= 6
