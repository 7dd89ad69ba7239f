"""What a run trains and scores, counted from a sample of its rows.

A set takes the forwards and tokens that its rows are really scored in. Forwards of written answers: bounds
that hold for any rows, and cases that can be counted by hand. A sampled step has the rows that a pack's
learners draw, planned as they are when it trains.
"""

from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.bases.base import load_base
from portal.bases.family import load_tokenizer
from portal.data.token_rows import RowTable, encode_examples
from portal.evaluate.loglikelihood import MAX_TOKENS, scoring_batches
from portal.forward.microbatch import LaunchCost, cpu_launch_cost
from portal.forward.shared_prefix import choice_length, packed_length
from portal.generation.decoder import Request
from portal.generation.generate import MAX_POSITIONS, MAX_ROWS, generate
from portal.learners.schedule import DataOrder
from portal.tasks.example import SPLITS
from sweeps.planning.checks import count_rows
from sweeps.planning.workload import (
    Layout,
    ScoredSet,
    Work,
    WorkloadEstimator,
    Writing,
    sample_step,
    scoring_only,
)
from sweeps.study.expand import Study
from tests.support.bases import TASKS, make_rows
from tests.support.studies import load_text

STUDY = """
name: counted
suite: village
tasks: [home_01, colour_02, leftover_04]
eval_size: 10
seeds: [0]
sources: [village-qwen3-xs]
targets: [village-gemma3]
methods:
  lora: {size: 48, curve: {sizes: [1]}, train: {epochs: 1, rounds_per_epoch: 20, evaluate: last_epoch}}
"""


WRITTEN = """
name: written
suite: ledger
tasks: [written-6]
eval_size: 50
seeds: [0]
sources: [ledger-qwen3-xs]
targets: [ledger-gemma3]
methods: {base: {}}
"""
"""A study of tasks whose answers are written."""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_text(tmp_path, STUDY)


def estimator(study: Study, *bases: str) -> WorkloadEstimator:
    tokenizers = {base: load_tokenizer(base) for base in bases}
    num_rows = count_rows(study.suite, study.tasks)
    return WorkloadEstimator(study.suite, study.tasks, num_rows, tokenizers, max_prompt=768)


def test_tokens_are_those_of_the_bases_own_tokenizer(study: Study) -> None:
    run, gemma = study.runs[0], estimator(study, "village-gemma3")
    places = [(task, "validation") for task in study.tasks]
    examples = ((each, place[1]) for place in places for each in study.suite.examples(*place))
    rows = encode_examples(examples, load_tokenizer("village-gemma3"), max_prompt=768)

    work, unknown = gemma.work(run), estimator(study).work(run)

    assert work.row_tokens == pytest.approx(mean(len(row.gold_ids) for row in rows), rel=0.05)
    assert work.row_tokens > 1.2 * unknown.row_tokens  # a token of made-up names is no four characters
    assert work.scored_tokens == pytest.approx(work.scored_rows * mean(map(packed_length, rows)), rel=0.05)
    assert work.scored_tokens != unknown.scored_tokens
    data = run.data.model_copy(update={"calibrated": ()})
    carried = run.model_copy(update={"data": data, "train": None})
    assert carried.data.trained_tasks == ()
    only_scored = gemma.work(carried)
    assert (only_scored.steps, only_scored.rows_per_step) == (0, 0.0)
    assert only_scored.scored_tokens > 0
    assert only_scored.row_tokens == work.row_tokens


def test_the_work_of_one_evaluation_is_that_of_its_rows(study: Study) -> None:
    (run, *_) = study.runs
    work = estimator(study, "village-qwen3-xs").work(run)
    examples = [(each, "test") for each in study.suite.examples("home_01", "test")[:10]]
    rows = list(encode_examples(examples, load_tokenizer("village-qwen3-xs"), max_prompt=768))

    packed, apart = (scoring_only(work, [rows, rows[:5]], in_one_row=each) for each in (True, False))

    once = [*rows, *rows[:5]]
    assert packed.scored_tokens == sum(packed_length(row) for row in once)
    assert apart.scored_tokens == sum(choice_length(row) * len(row.choices) for row in once)
    for each in (packed, apart):
        assert (each.steps, each.scored_rows) == (0, 15)
        assert [own.questions for own in each.scored_sets] == [10, 5]
    read = sum(1 + sum(row.scored_tokens) - len(row.choices) for row in once)
    assert packed.scored_answer_share * packed.scored_tokens == pytest.approx(read)
    read_apart = sum(sum(row.scored_tokens) for row in once)
    assert apart.scored_answer_share * apart.scored_tokens == pytest.approx(read_apart)


def test_test_rows_of_what_is_kept_are_scored_twice_at_most(study: Study) -> None:
    (run, *_) = study.runs
    assert run.train is not None
    of_all = run.train.model_copy(
        update={"epochs": 5, "evaluate": "every_epoch", "evaluate_every": None, "keep": "best_validation"}
    )
    runs = [
        run.model_copy(update={"train": of_all.model_copy(update={"test_scores": scores})})
        for scores in ("every_evaluation", "kept")
    ]
    validated, tested = (
        sum(min(10, len(study.suite.examples(task, split))) for task in study.tasks)
        for split in ("validation", "test")
    )

    whole, sparing = (estimator(study).work(each) for each in runs)

    passes = whole.scored_rows / (validated + tested)
    assert passes > 3
    assert sparing.scored_rows == pytest.approx(passes * validated + 2 * tested)
    per_row = whole.scored_tokens / ((passes - 1) * (validated + tested))
    assert sparing.scored_tokens == pytest.approx(per_row * ((passes - 1) * validated + 2 * tested))
    assert sum(each.times for each in whole.scored_sets) == 2 * (passes - 1) * len(study.tasks)
    assert sum(each.times for each in sparing.scored_sets) == (passes - 1 + 2) * len(study.tasks)


def test_a_task_with_fewer_rows_than_a_batch_gives_what_it_has(study: Study) -> None:
    works = {run.data.size: estimator(study).work(run) for run in study.runs}

    assert (works[1].steps, works[48].steps) == (20, 20)
    assert (works[1].rows_per_step, works[48].rows_per_step) == (3, 12)
    scored = sum(
        min(10, len(study.suite.examples(task, split)))
        for task in study.tasks
        for split in SPLITS
        if split != "train"
    )
    assert works[1].scored_rows == works[48].scored_rows == scored


def test_steps_that_balance_answer_tokens_are_counted_as_they_are_taken(tmp_path: Path) -> None:
    how = "{epochs: 1, batch_size: 4, evaluate: last_epoch, balance: answer_tokens}"
    study = load_text(tmp_path, WRITTEN.replace("{base: {}}", f"{{hypernet: {{size: 48, train: {how}}}}}"))
    (run,) = study.runs
    examples = [(each, "train") for task in study.tasks for each in study.suite.examples(task, "train")]
    rows = RowTable(encode_examples(examples, load_tokenizer("ledger-gemma3"), max_prompt=768))

    work = estimator(study, "ledger-gemma3").work(run)

    order = DataOrder(run, {"ledger-gemma3": rows})
    assert len(set(order.batches.values())) > 1
    assert work.steps == max(order.batches.values())


def test_forwards_that_write_answers_are_about_as_many_as_it_takes(tmp_path: Path) -> None:
    study, base = load_text(tmp_path, WRITTEN), load_base("ledger-gemma3")
    places = [(task, split) for split in SPLITS if split != "train" for task in study.tasks]
    examples = [(each, "test") for place in places for each in study.suite.examples(*place)[:50]]
    rows = list(encode_examples(examples, base.tokenizer, max_prompt=768))
    asked = [Request(row.prompt, None, row.scored_tokens[row.gold]) for row in rows]
    forwards: list[int] = []
    base.model.register_forward_hook(lambda *_: forwards.append(1))

    answers = list(generate(base, asked, {}, 1.0))

    taken = [(len(asked[number].prompt), len(answer.tokens)) for number, answer in sorted(answers)]
    positions = max(len(each.prompt) + each.max_new_tokens for each in asked)
    same = Writing.of(taken, positions, is_continuous=True).forwards
    assert same <= len(forwards) <= 1.25 * same  # prompts of unlike lengths are read in more than one
    work = estimator(study, "ledger-gemma3").work(study.runs[0])
    assert len(rows) > 2 * MAX_ROWS
    assert work.read_tokens == pytest.approx(sum(len(row.prompt) for row in rows), rel=0.1)
    assert sum(written for _, written in taken) <= work.written_tokens * 1.05  # some end early
    assert work.writing_forwards == pytest.approx(len(forwards), rel=0.2)


@pytest.mark.parametrize(("scored", "evaluations"), [("every_evaluation", 3), ("kept", 1 + 1 + 2)])
def test_answers_of_both_splits_are_written_together_where_both_are_evaluated(
    tmp_path: Path, scored: str, evaluations: int
) -> None:
    # Three epochs: test rows with each of them, or with the last and, alone, at the kept one. All rows of a
    # split have places at once, so that its forwards are as many as its longest answer has tokens.
    how = "epochs: 3, rounds_per_epoch: 2, evaluate: every_epoch, keep: best_validation"
    trained = f"{{base: {{}}, hypernet: {{size: 48, train: {{{how}, test_scores: {scored}}}}}}}"
    text = WRITTEN.replace("{base: {}}", trained).replace("eval_size: 50", "eval_size: 5")
    study = load_text(tmp_path, text)
    found = {run.method: estimator(study, "ledger-gemma3").work(run) for run in study.runs}

    once, work = found["base"].writing_forwards, found["hypernet"].writing_forwards
    assert work == pytest.approx(evaluations * once, rel=0.15)


COST = cpu_launch_cost(0).forward / 2


def test_it_is_laid_out_as_scoring_lays_out_its_rows() -> None:
    base = load_base("mini-qwen3-xs")
    rows = [row for task in TASKS for row in make_rows(base, count=60).rows(task, "test")]
    sizes = tuple((packed_length(row), 1) for row in rows)

    found = ScoredSet(len(rows), 1.0, sizes).layout(COST)

    batches = scoring_batches(rows, base).batches
    assert found.forwards == len(batches) > 1
    assert found.tokens == sum(packed_length(row) for row in rows) < found.padded_tokens
    assert found.padded_tokens == pytest.approx(sum(batch.ids_NT.numel() for batch in batches), rel=0.02)


def test_rows_that_were_not_sampled_are_like_those_that_were() -> None:
    sampled = ScoredSet(2, 1.0, ((20, 1), (200, 3))).layout(COST)

    every = ScoredSet(40, 1.0, ((20, 1), (200, 3))).layout(COST)

    assert sampled == Layout(2, 20 + 600, 20 + 3 * 208)  # a multiple of 16
    assert (every.tokens, every.padded_tokens) == (20 * 620, 20 * (20 + 624))
    assert every.forwards == 1 + -(-20 // (MAX_TOKENS // 624))


def test_dear_forwards_are_fewer() -> None:
    pair = ScoredSet(20, 1.0, ((20, 1), (60, 1)))

    assert [pair.layout(cost).forwards for cost in (1.0, 10_000.0)] == [2, 1]


ROWS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 9)), min_size=1, max_size=200)


def forwards(rows: list[tuple[int, int]], places: int, *, is_continuous: bool = True) -> float:
    return Writing.of(rows, MAX_POSITIONS // places, is_continuous=is_continuous).forwards


@given(ROWS, st.integers(1, MAX_ROWS), st.booleans())
def test_forwards_are_no_fewer_than_tokens_and_places_need_and_no_more_than_tokens(
    rows: list[tuple[int, int]], places: int, is_continuous: bool
) -> None:
    tokens = sum(answer for _, answer in rows)
    found = forwards(rows, places, is_continuous=is_continuous)

    assert max(tokens / places, max(answer for _, answer in rows)) <= found <= tokens


@given(ROWS)
def test_rows_that_all_have_places_end_with_the_longest_answer_and_one_after_another_each_with_its_own(
    rows: list[tuple[int, int]],
) -> None:
    few = rows[:MAX_ROWS]

    assert forwards(few, len(few)) == max(answer for _, answer in few)
    assert forwards(rows, 1) == sum(answer for _, answer in rows)


def test_forwards_are_those_that_can_be_counted_by_hand() -> None:
    # Places of two: the two longest prompts are read (1) and written on (2); the third is read (3) beside the
    # answer of four tokens, which goes on with it (4, 5).
    assert forwards([(9, 4), (8, 2), (7, 3)], 2) == 5
    rows = [(9, 4), (9, 2), (9, 5), (7, 3), (7, 1)]  # of two lengths, which cannot share a batch
    assert forwards(rows, 2, is_continuous=False) == 4 + 5 + 3
    assert forwards(rows, 5, is_continuous=False) == 5 + 3
    assert Writing.of([], 1, is_continuous=True) == Writing(0.0, 0.0, 0.0)


WORK = Work(
    steps=10,
    rows_per_step=12,
    tasks=3,
    row_tokens=30,
    answer_tokens=3,
    scored_tokens=0,
    scored_answer_share=0.2,
    scored_rows=0,
    lengths=((20,), (60,), (250,)),
)
FREE, DEAR = LaunchCost(0.0, 0.0), LaunchCost(1e6, 1e5)


def test_a_step_has_rows_of_every_task_of_every_learner() -> None:
    one, two = (sample_step([WORK] * count, FREE, on_gpu=True) for count in (1, 2))

    assert one.real_tokens == 4 * (20 + 60 + 250)
    assert two.real_tokens == 2 * one.real_tokens
    assert one.forwards == two.forwards == 3  # lengths
    assert 1.0 <= one.padding == two.padding < 1.05  # to the grain of lengths
    unsampled = sample_step([replace(WORK, lengths=(), row_tokens=31.6)], FREE, on_gpu=True)
    assert (unsampled.real_tokens, unsampled.forwards) == (12 * 32, 1)  # all are as long as the mean
    scarce = sample_step([replace(WORK, rows_per_step=2)], FREE, on_gpu=True)
    assert scarce.real_tokens == 20 + 60  # of some tasks


def test_where_launches_are_dear_all_rows_share_a_forward_that_memory_limits() -> None:
    step = sample_step([WORK, WORK], DEAR, on_gpu=True)
    whole, parts = (sample_step([WORK], DEAR, on_gpu=True, max_tokens=most) for most in (12 * 256, 8 * 256))

    assert (step.forwards, step.launches) == (1, DEAR.forward)
    assert step.padding == pytest.approx(256 / 110)
    assert (whole.forwards, parts.forwards) == (1, 2)
    assert parts.padded_tokens == whole.padded_tokens
    assert parts.launches == pytest.approx(2 * whole.launches)


def test_on_a_cpu_other_learners_change_no_ones_forwards() -> None:
    one, two = (sample_step([WORK] * count, LaunchCost(600.0, 0.0), on_gpu=False) for count in (1, 2))

    assert one.padding == two.padding > 1.05
    assert one.forwards == two.forwards == 2
