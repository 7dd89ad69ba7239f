"""Written answers are judged one by one; a metric that fails costs its answer and no run.

An evaluation that is interrupted goes on from the answers that it has, and finds no others.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from portal.answers import AnswerConfig
from portal.bases.base import Base
from portal.data.token_rows import TokenRow, encode_example
from portal.device import usable_cores
from portal.evaluate import written
from portal.evaluate.code_sandbox import SandboxError
from portal.evaluate.written import AnswerJournal, Judged, ToWrite, write_answers
from portal.generation.decoder import Request
from portal.generation.generate import generate
from portal.hypernet import Factors
from portal.tasks.example import Example, Written

SCALING = 0.5
PROMPTS = ("The town of", "Where was Vume born?", "The food that", "a")


def rows_of(base: Base, *references: str) -> list[TokenRow]:
    examples = [
        Example("places", f"{place}", prompt, (f" {references[0]}",), 0, "c", written=Written(references))
        for place, prompt in enumerate(PROMPTS)
    ]
    return [encode_example(example, "test", base.tokenizer, max_prompt=64) for example in examples]


def longest(text: str, references: Sequence[str]) -> float:
    """A metric of one's own: 1 for the text that is a reference, an error for an empty one."""
    if text == "":
        raise RuntimeError("nothing there")
    return len(text) / 10**3


def too_much(_text: str, _references: Sequence[str]) -> float:
    return 2.0


def test_rows_of_all_slots_share_batches_and_keep_their_adapter(base: Base, factors: Factors) -> None:
    rows, answers = rows_of(base, "Oakham"), AnswerConfig(max_new_tokens=9)
    parts = [ToWrite(rows, slot, answers) for slot in (1, None, 0)]
    found = write_answers(base, parts, factors, SCALING)

    assert len({tuple(each.text for each in own) for own in found}) == 3
    for part, own in zip(parts, found, strict=True):
        for row, judged in zip(part.rows, own, strict=True):
            request = Request(row.prompt, part.slot, 9)
            ((_, alone),) = generate(base, [request], factors, SCALING)
            assert (judged.text, judged.num_tokens, judged.reason) == (
                alone.text, len(alone.tokens), alone.reason,
            )  # fmt: skip
            assert judged.value == float(judged.text.strip().lower().rstrip(".") == "oakham")


def test_an_answer_ends_where_its_row_does(base: Base, factors: Factors) -> None:
    (row, *_), answers = rows_of(base, "Oakham"), AnswerConfig(max_new_tokens=12)
    ((whole,),) = write_answers(base, [ToWrite([row], 0, answers)], factors, SCALING)
    ((_, written),) = generate(base, [Request(row.prompt, 0, 12)], factors, SCALING)
    second = written.tokens[1]
    own_end = replace(row, choices=((*row.choices[0][:-1], second),))
    ((ended,),) = write_answers(base, [ToWrite([own_end], 0, answers)], factors, SCALING)

    assert second != written.tokens[0]
    assert (ended.num_tokens, ended.reason) == (2, "end")
    assert whole.num_tokens > 2
    assert whole.text.startswith(ended.text)


def test_what_a_pattern_leaves_is_judged(base: Base) -> None:
    rows = rows_of(base, "Oakham")
    plain = AnswerConfig(max_new_tokens=6, metric="regex", pattern="(Oak).*")
    (judged,) = write_answers(base, [ToWrite(rows, None, plain)], {}, 1.0)

    assert all(each.value == 0.0 for each in judged)
    assert all(each.error is None for each in judged)


@pytest.mark.parametrize(
    ("metric", "failed", "reason"),
    [("longest", 4, "nothing there"), ("too_much", 4, "2.0 is outside 0..1")],
)
def test_an_answer_whose_metric_fails_counts_nothing_and_says_so(
    base: Base, caplog: pytest.LogCaptureFixture, metric: str, failed: int, reason: str
) -> None:
    rows = rows_of(base, "Oakham")
    answers = AnswerConfig(metric=f"{__name__}:{metric}", max_new_tokens=6, pattern="#")
    with caplog.at_level(logging.WARNING):
        (judged,) = write_answers(base, [ToWrite(rows, None, answers)], {}, 1.0)

    assert [each.value for each in judged] == [0.0] * 4
    assert all(each.error is not None and reason in each.error for each in judged)
    assert all(each.text for each in judged)
    (message,) = [each for each in caplog.messages if "metric" in each]
    assert f"failed on {failed} of 4 answers, which count 0 (example 0: " in message


def starved(text: str, references: Sequence[str]) -> float:
    raise MemoryError


def test_a_metric_that_runs_out_of_memory_makes_no_wrong_answers(base: Base) -> None:
    answers = AnswerConfig(metric=f"{__name__}:starved", max_new_tokens=3)

    with pytest.raises(MemoryError, match=r"metric .*:starved, task 'places', example '.': out of memory"):
        write_answers(base, [ToWrite(rows_of(base, "Oakham"), None, answers)], {}, 1.0)


def rows_with(base: Base, *tests: str) -> list[TokenRow]:
    rows = rows_of(base, "x")
    return [replace(row, references=(test,)) for row, test in zip(rows, tests, strict=True)]


@pytest.mark.usefixtures("allowed")
def test_programs_are_judged_while_others_are_written_and_keep_their_places(base: Base) -> None:
    programs = AnswerConfig(metric="pass_at_1", max_new_tokens=3, stop=("\n",))
    tests = ("import time; time.sleep(1)", "1 / 0", "pass", "assert False")
    rows = rows_with(base, *(f"{test} # {{answer}}" for test in tests))
    words = AnswerConfig(metric="contains", max_new_tokens=3)
    own, other = write_answers(
        base, [ToWrite(rows, None, programs), ToWrite(rows_of(base, "a"), None, words)], {}, 1.0
    )

    assert [each.value for each in own] == [1.0, 0.0, 1.0, 0.0]
    assert all(each.error is None for each in (*own, *other))


@pytest.mark.usefixtures("failing_bubblewrap")
def test_a_program_that_could_not_be_run_is_no_wrong_answer(base: Base) -> None:
    programs = AnswerConfig(metric="pass_at_1", max_new_tokens=3, stop=("\n",))

    with pytest.raises(SandboxError, match="Resource temporarily unavailable"):
        write_answers(base, [ToWrite(rows_with(base, *["pass # {answer}"] * 4), None, programs)], {}, 1.0)


@pytest.mark.skipif(usable_cores() < 2, reason="one core judges one program at a time")
@pytest.mark.usefixtures("allowed")
def test_several_programs_run_at_once(base: Base) -> None:
    programs = AnswerConfig(metric="pass_at_1", max_new_tokens=3, stop=("\n",))
    rows = rows_with(base, *["import time; time.sleep(4) # {answer}"] * 4)
    started = time.monotonic()
    (judged,) = write_answers(base, [ToWrite(rows, None, programs)], {}, 1.0)

    assert [each.value for each in judged] == [1.0] * 4
    assert time.monotonic() - started < 15


@pytest.mark.usefixtures("allowed")
def test_an_interruption_waits_for_no_program(base: Base) -> None:
    programs = AnswerConfig(metric="pass_at_1", max_new_tokens=3, stop=("\n",))
    slow = ToWrite(rows_with(base, *["import time; time.sleep(90) # {answer}"] * 4), None, programs)
    stopping = AnswerConfig(metric=f"{__name__}:interrupted", max_new_tokens=9)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        write_answers(base, [slow, ToWrite(rows_of(base, "a"), None, stopping)], {}, 1.0)
    assert time.monotonic() - started < 60


def interrupted(text: str, references: Sequence[str]) -> float:
    raise KeyboardInterrupt


def test_a_metric_that_is_not_there_is_refused_before_anything_is_written(base: Base) -> None:
    seen: list[object] = []
    hook = base.model.register_forward_pre_hook(lambda *args: seen.append(args))
    with pytest.raises(ValueError, match="unknown metric 'bleu'"):
        write_answers(base, [ToWrite(rows_of(base, "x"), None, AnswerConfig(metric="bleu"))], {}, 1.0)
    hook.remove()

    assert seen == []


def test_an_answer_ends_where_the_base_has_room_for_no_more(base: Base) -> None:
    prompt = " ".join(["The town of"] * 200)
    example = Example("places", "0", prompt, (" x",), 0, "c", written=Written(("x",)))
    row = encode_example(example, "test", base.tokenizer, max_prompt=508)
    ((judged,),) = write_answers(base, [ToWrite([row], None, AnswerConfig(max_new_tokens=64))], {}, 1.0)

    assert len(row.prompt) == 508
    assert base.text_config.max_position_embeddings == 512
    assert judged.num_tokens <= 4


def test_answers_that_do_not_fit_memory_are_written_fewer_at_a_time(
    base: Base, factors: Factors, caplog: pytest.LogCaptureFixture
) -> None:
    parts = [ToWrite(rows_of(base, "Oakham"), slot, AnswerConfig(max_new_tokens=9)) for slot in (0, 1)]
    whole = write_answers(base, parts, factors, SCALING)

    def small(_module: object, args: object, inputs: dict[str, torch.Tensor]) -> None:
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("out of memory")

    hook = base.model.register_forward_pre_hook(small, with_kwargs=True)
    try:
        assert write_answers(base, parts, factors, SCALING) == whole
    finally:
        hook.remove()
    assert [message for message in caplog.messages if "at a time now" in message] == [
        f"base {base.name}: out of memory, answers of {most} rows at a time now" for most in (4, 2)
    ]


def test_answers_that_mostly_hit_their_limit_are_told(base: Base, caplog: pytest.LogCaptureFixture) -> None:
    answers = AnswerConfig(max_new_tokens=2)
    (judged,) = write_answers(base, [ToWrite(rows_of(base, "x"), None, answers)], {}, 1.0)

    assert [each.reason for each in judged] == ["length"] * 4
    assert caplog.messages == ["task places: 4 of 4 answers were as long as they may be, 2 tokens"]


def test_nothing_to_write_is_nothing(base: Base) -> None:
    assert write_answers(base, [], {}, 1.0) == []
    assert write_answers(base, [ToWrite([], None, AnswerConfig())], {}, 1.0) == [[]]
    assert Judged("a", 1, "end", 1.0).error is None


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
    monkeypatch.setattr(written, "PIECE_S", 0.0)


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
