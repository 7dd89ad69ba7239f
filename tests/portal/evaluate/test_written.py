"""Written answers are judged one by one; a metric that fails costs its answer and no run.

An evaluation that is interrupted goes on from the answers that it has, and finds no others.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
ANSWERS = AnswerConfig(max_new_tokens=9)
PROGRAMS = AnswerConfig(metric="pass_at_1", max_new_tokens=3, stop=("\n",))


def rows_of(base: Base, *references: str) -> list[TokenRow]:
    examples = [
        Example("places", f"{place}", prompt, (f" {references[0]}",), 0, "c", written=Written(references))
        for place, prompt in enumerate(PROMPTS)
    ]
    return [encode_example(example, "test", base.tokenizer, max_prompt=64) for example in examples]


def programs(base: Base, *tests: str) -> ToWrite:
    """Rows whose answers stand behind these tests, in comments."""
    rows = zip(rows_of(base, "x"), tests, strict=True)
    return ToWrite([replace(row, references=(f"{test} # {{answer}}",)) for row, test in rows], None, PROGRAMS)


def plain(base: Base, *parts: ToWrite) -> list[list[Judged]]:
    """The judged answers without adapters."""
    return write_answers(base, parts, {}, 1.0)


def by(metric: str, **settings: Any) -> AnswerConfig:
    """Answers that are judged by a function of this file."""
    return AnswerConfig(metric=f"{__name__}:{metric}", **settings)


def longest(text: str, references: Sequence[str]) -> float:
    if text == "":
        raise RuntimeError("nothing there")
    return len(text) / 10**3


def too_much(_text: str, _references: Sequence[str]) -> float:
    return 2.0


def starved(text: str, references: Sequence[str]) -> float:
    raise MemoryError


def interrupted(text: str, references: Sequence[str]) -> float:
    raise KeyboardInterrupt


@contextmanager
def hooked(base: Base, hook: Callable[[dict[str, torch.Tensor]], None]) -> Iterator[None]:
    """In the block `hook` gets the inputs of each forward before it runs."""
    handle = base.model.register_forward_pre_hook(lambda _, args, inputs: hook(inputs), with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def test_rows_of_all_slots_share_batches_and_keep_their_adapter(base: Base, factors: Factors) -> None:
    parts = [ToWrite(rows_of(base, "Oakham"), slot, ANSWERS) for slot in (1, None, 0)]
    found = write_answers(base, parts, factors, SCALING)

    assert len({tuple(each.text for each in own) for own in found}) == 3
    for part, own in zip(parts, found, strict=True):
        for row, judged in zip(part.rows, own, strict=True):
            ((_, alone),) = generate(base, [Request(row.prompt, part.slot, 9)], factors, SCALING)
            value = float(alone.text.strip().lower().rstrip(".") == "oakham")
            assert judged == Judged(alone.text, len(alone.tokens), alone.reason, value)


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


def test_what_a_pattern_leaves_is_judged_and_a_metric_that_fails_on_it_counts_nothing_and_says_so(
    base: Base, caplog: pytest.LogCaptureFixture
) -> None:
    rows = rows_of(base, "Oakham")
    matched = AnswerConfig(max_new_tokens=6, metric="regex", pattern="(Oak).*")
    (judged,) = plain(base, ToWrite(rows, None, matched))
    assert [(each.value, each.error) for each in judged] == [(0.0, None)] * 4

    for metric, reason in (("longest", "nothing there"), ("too_much", "2.0 is outside 0..1")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            (judged,) = plain(base, ToWrite(rows, None, by(metric, max_new_tokens=6, pattern="#")))
        assert [each.value for each in judged] == [0.0] * 4
        assert all(each.error is not None and reason in each.error and each.text for each in judged)
        (message,) = [each for each in caplog.messages if "metric" in each]
        assert "failed on 4 of 4 answers, which count 0 (example 0: " in message


@pytest.mark.usefixtures("allowed")
def test_programs_are_judged_while_others_are_written_and_keep_their_places(base: Base) -> None:
    own = programs(base, "import time; time.sleep(1)", "1 / 0", "pass", "assert False")
    words = ToWrite(rows_of(base, "a"), None, AnswerConfig(metric="contains", max_new_tokens=3))
    found, other = plain(base, own, words)

    assert [each.value for each in found] == [1.0, 0.0, 1.0, 0.0]
    assert all(each.error is None for each in (*found, *other))


@pytest.mark.usefixtures("failing_bubblewrap")
def test_a_program_that_could_not_be_run_is_no_wrong_answer(base: Base) -> None:
    with pytest.raises(SandboxError, match="Resource temporarily unavailable"):
        plain(base, programs(base, *["pass"] * 4))


@pytest.mark.skipif(usable_cores() < 2, reason="one core judges one program at a time")
@pytest.mark.usefixtures("allowed")
def test_several_programs_run_at_once(base: Base) -> None:
    started = time.monotonic()
    (judged,) = plain(base, programs(base, *["import time; time.sleep(4)"] * 4))

    assert [each.value for each in judged] == [1.0] * 4
    assert time.monotonic() - started < 15


@pytest.mark.usefixtures("allowed")
def test_an_interruption_waits_for_no_program(base: Base) -> None:
    stopping = ToWrite(rows_of(base, "a"), None, by("interrupted", max_new_tokens=9))
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        plain(base, programs(base, *["import time; time.sleep(90)"] * 4), stopping)
    assert time.monotonic() - started < 60


def test_a_metric_that_is_not_there_or_runs_out_of_memory_makes_no_wrong_answers(base: Base) -> None:
    seen: list[object] = []
    with hooked(base, seen.append), pytest.raises(ValueError, match="unknown metric 'bleu'"):
        plain(base, ToWrite(rows_of(base, "x"), None, AnswerConfig(metric="bleu")))
    assert seen == []  # nothing was written before

    with pytest.raises(MemoryError, match=r"metric .*:starved, task 'places', example '.': out of memory"):
        plain(base, ToWrite(rows_of(base, "Oakham"), None, by("starved", max_new_tokens=3)))


def test_an_answer_ends_where_the_base_has_room_for_no_more(base: Base) -> None:
    prompt = " ".join(["The town of"] * 200)
    example = Example("places", "0", prompt, (" x",), 0, "c", written=Written(("x",)))
    row = encode_example(example, "test", base.tokenizer, max_prompt=508)
    ((judged,),) = plain(base, ToWrite([row], None, AnswerConfig(max_new_tokens=64)))

    assert len(row.prompt) == 508
    assert base.text_config.max_position_embeddings == 512
    assert judged.num_tokens <= 4


def test_answers_that_do_not_fit_memory_are_written_fewer_at_a_time(
    base: Base, factors: Factors, caplog: pytest.LogCaptureFixture
) -> None:
    parts = [ToWrite(rows_of(base, "Oakham"), slot, ANSWERS) for slot in (0, 1)]
    whole = write_answers(base, parts, factors, SCALING)

    def small(inputs: dict[str, torch.Tensor]) -> None:
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("out of memory")

    with hooked(base, small):
        assert write_answers(base, parts, factors, SCALING) == whole
    assert [message for message in caplog.messages if "at a time now" in message] == [
        f"base {base.name}: out of memory, answers of {most} rows at a time now" for most in (4, 2)
    ]


def test_answers_that_mostly_hit_their_limit_are_told_and_nothing_to_write_is_nothing(
    base: Base, caplog: pytest.LogCaptureFixture
) -> None:
    (judged,) = plain(base, ToWrite(rows_of(base, "x"), None, AnswerConfig(max_new_tokens=2)))

    assert [each.reason for each in judged] == ["length"] * 4
    assert caplog.messages == ["task places: 4 of 4 answers were as long as they may be, 2 tokens"]
    assert plain(base) == []
    assert plain(base, ToWrite([], None, AnswerConfig())) == [[]]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is a piece."""
    monkeypatch.setattr(written, "PIECE_S", 0.0)


def rows_read(base: Base, write: Callable[[], object]) -> int:
    """Rows whose prompts the base reads meanwhile."""
    counts: list[int] = []

    def note(inputs: dict[str, torch.Tensor]) -> None:
        counts.append(len(inputs["input_ids"]) if inputs.get("position_ids") is None else 0)

    with hooked(base, note):
        write()
    return sum(counts)


@pytest.mark.usefixtures("at_once")
def test_an_interrupted_evaluation_writes_what_is_left(base: Base, factors: Factors, tmp_path: Path) -> None:
    parts = [ToWrite(rows_of(base, "x"), slot, ANSWERS) for slot in (1, None, 0)]
    whole = write_answers(base, parts, factors, SCALING)
    found, forwards = list[Any](), iter(range(4))

    def write() -> None:
        found[:] = write_answers(base, parts, factors, SCALING, journal=AnswerJournal(tmp_path))

    def stop(_inputs: object) -> None:
        if next(forwards, None) is None:
            raise KeyboardInterrupt

    with hooked(base, stop), pytest.raises(KeyboardInterrupt):
        write()
    known = sum(len(json.loads(piece.read_text())) for piece in tmp_path.rglob("*.json"))

    assert 0 < known < 12
    assert rows_read(base, write) == 12 - known
    assert found == whole
    assert rows_read(base, write) == 0  # the rest is there, too
    assert found == whole


@pytest.mark.usefixtures("at_once")
def test_answers_of_something_else_are_not_taken(base: Base, factors: Factors, tmp_path: Path) -> None:
    rows = rows_of(base, "x")
    other = {site: (a_SLRI.clone(), b_SLOR) for site, (a_SLRI, b_SLOR) in factors.items()}
    next(iter(other.values()))[0].flatten()[0] += 1e-3
    part = ToWrite(rows, 0, ANSWERS)

    def read(part: ToWrite, factors: Factors = factors, scaling: float = SCALING) -> int:
        journal = AnswerJournal(tmp_path)
        return rows_read(base, lambda: write_answers(base, [part], factors, scaling, journal=journal))

    assert (read(part), read(part)) == (4, 0)
    assert read(part, factors=other) == 4
    assert read(part, scaling=0.25) == 4
    for changed in (
        replace(part, slot=1),
        replace(part, slot=None),
        replace(part, answers=AnswerConfig(max_new_tokens=8)),
        replace(part, answers=AnswerConfig(max_new_tokens=9, stop=("z",))),
        replace(part, rows=[*rows[1:], rows[0]]),
        replace(part, rows=[replace(rows[0], choices=((5,),)), *rows[1:]]),
    ):
        assert read(changed) == 4
    # how an answer is judged has no part in how it is written
    assert read(replace(part, answers=ANSWERS.model_copy(update={"metric": "contains"}))) == 0


def test_a_short_evaluation_leaves_nothing_nor_does_one_that_may_not_commit(
    base: Base, factors: Factors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise RuntimeError("the lease is another's")

    def write(journal: AnswerJournal) -> None:
        write_answers(base, [ToWrite(rows_of(base, "x"), 0, ANSWERS)], factors, SCALING, journal=journal)

    write(AnswerJournal(tmp_path / "answers"))
    monkeypatch.setattr(written, "PIECE_S", 0.0)
    with pytest.raises(RuntimeError, match="the lease is another's"):
        write(AnswerJournal(tmp_path / "answers", refuse))

    assert not (tmp_path / "answers").exists()
