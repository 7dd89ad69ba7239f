"""An evaluation that is interrupted goes on from the answers that it has, and finds no others."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from portal.answers import AnswerConfig
from portal.bases.base import Base
from portal.data.token_rows import TokenRow, encode_example
from portal.evaluate import answer_journal
from portal.evaluate.answer_journal import AnswerJournal
from portal.evaluate.written import Judged, ToWrite, write_answers
from portal.hypernet import Factors
from portal.tasks.example import Example, Written

SCALING = 0.5
ANSWERS = AnswerConfig(max_new_tokens=9)


@pytest.fixture(scope="module")
def rows(base: Base) -> list[TokenRow]:
    examples = [
        Example("places", str(place), prompt, (" x",), 0, "c", written=Written(("x",)))
        for place, prompt in enumerate(("The town of", "Where was Vume born?", "The food that", "a"))
    ]
    return [encode_example(example, "test", base.tokenizer, max_prompt=64) for example in examples]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is a piece."""
    monkeypatch.setattr(answer_journal, "PIECE_S", 0.0)


def rows_read(base: Base, write: Callable[[], object]) -> int:
    """Rows whose prompts the base reads meanwhile."""
    count = 0

    def note(_module: object, args: object, inputs: dict[str, torch.Tensor]) -> None:
        nonlocal count
        count += len(inputs["input_ids"]) if inputs.get("position_ids") is None else 0

    hook = base.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        write()
    finally:
        hook.remove()
    return count


def interrupt(base: Base, after: int, write: Callable[[], object]) -> None:
    """Write until so many forwards have run."""
    left = after

    def stop(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt

    hook = base.model.register_forward_pre_hook(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            write()
    finally:
        hook.remove()


@pytest.mark.usefixtures("at_once")
def test_an_interrupted_evaluation_writes_what_is_left(
    base: Base, factors: Factors, rows: list[TokenRow], tmp_path: Path
) -> None:
    parts = [ToWrite(rows, slot, ANSWERS) for slot in (1, None, 0)]
    whole = write_answers(base, parts, factors, SCALING)
    folder, found = tmp_path / "answers", list[Any]()

    def write() -> None:
        found[:] = write_answers(base, parts, factors, SCALING, journal=AnswerJournal(folder))

    interrupt(base, 4, write)
    pieces = [json.loads(piece.read_text()) for piece in sorted(folder.rglob("*.json"))]
    known = sum(map(len, pieces))

    assert 0 < known < 12
    assert rows_read(base, write) == 12 - known
    assert found == whole
    assert rows_read(base, write) == 0  # the rest is there, too
    assert found == whole


@pytest.mark.usefixtures("at_once")
def test_answers_of_something_else_are_not_taken(
    base: Base, factors: Factors, rows: list[TokenRow], tmp_path: Path
) -> None:
    def write(
        factors: Factors = factors,
        rows: list[TokenRow] = rows,
        slot: int | None = 0,
        answers: AnswerConfig = ANSWERS,
        scaling: float = SCALING,
    ) -> list[list[Judged]]:
        part = ToWrite(rows, slot, answers)
        return write_answers(base, [part], factors, scaling, journal=AnswerJournal(tmp_path))

    other = {site: (a_SLRI.clone(), b_SLOR) for site, (a_SLRI, b_SLOR) in factors.items()}
    next(iter(other.values()))[0].flatten()[0] += 1e-3
    changed: list[Callable[[], object]] = [
        lambda: write(factors=other),
        lambda: write(scaling=0.25),
        lambda: write(slot=1),
        lambda: write(slot=None),
        lambda: write(answers=AnswerConfig(max_new_tokens=8)),
        lambda: write(answers=AnswerConfig(max_new_tokens=9, stop=("z",))),
        lambda: write(rows=[*rows[1:], rows[0]]),
        lambda: write(rows=[replace(rows[0], choices=((5,),)), *rows[1:]]),
    ]
    assert rows_read(base, write) == 4
    assert rows_read(base, write) == 0

    assert [rows_read(base, each) for each in changed] == [4] * len(changed)
    assert rows_read(base, lambda: write(answers=replace_metric("contains"))) == 0


def replace_metric(metric: str) -> AnswerConfig:
    """How an answer is judged has no part in how it is written."""
    return ANSWERS.model_copy(update={"metric": metric})


def test_a_short_evaluation_leaves_nothing(
    base: Base, factors: Factors, rows: list[TokenRow], tmp_path: Path
) -> None:
    journal = AnswerJournal(tmp_path / "answers")
    write_answers(base, [ToWrite(rows, 0, ANSWERS)], factors, SCALING, journal=journal)

    assert not (tmp_path / "answers").exists()


@pytest.mark.usefixtures("at_once")
def test_who_may_not_commit_writes_nothing(
    base: Base, factors: Factors, rows: list[TokenRow], tmp_path: Path
) -> None:
    def refuse() -> None:
        raise RuntimeError("the lease is another's")

    journal = AnswerJournal(tmp_path / "answers", refuse)
    with pytest.raises(RuntimeError, match="the lease is another's"):
        write_answers(base, [ToWrite(rows, 0, ANSWERS)], factors, SCALING, journal=journal)

    assert not (tmp_path / "answers").exists()
