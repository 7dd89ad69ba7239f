"""What a run trains and scores, counted from a sample of its rows."""

from pathlib import Path
from statistics import mean

import pytest

from portal.bases.base import load_base
from portal.bases.tokenizer import load_tokenizer
from portal.data.token_rows import RowTable, encode_examples
from portal.forward.shared_prefix import choice_length, packed_length
from portal.generation.generate import MAX_ROWS, generate
from portal.generation.request import Request
from portal.learners.data_order import DataOrder
from portal.tasks.example import SPLITS
from sweeps.planning.study_rows import count_rows
from sweeps.planning.workload import WorkloadEstimator, scoring_only
from sweeps.planning.writing import Writing
from sweeps.study.expand import Study, load_study

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


@pytest.fixture
def study(tmp_path: Path) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return load_study(path)


def estimator(study: Study, *bases: str) -> WorkloadEstimator:
    tokenizers = {base: load_tokenizer(base) for base in bases}
    num_rows = count_rows(study.suite, study.tasks)
    return WorkloadEstimator(study.suite, study.tasks, num_rows, tokenizers, max_prompt=768)


def test_tokens_are_those_of_the_bases_own_tokenizer(study: Study) -> None:
    run = study.runs[0]
    examples = (
        (each, "validation") for task in study.tasks for each in study.suite.examples(task, "validation")
    )
    rows = encode_examples(examples, load_tokenizer("village-gemma3"), max_prompt=768)

    work = estimator(study, "village-gemma3").work(run)
    unknown = estimator(study).work(run)

    assert work.row_tokens == pytest.approx(mean(len(row.gold_ids) for row in rows), rel=0.05)
    assert work.row_tokens > 1.2 * unknown.row_tokens  # a token of made-up names is no four characters
    assert work.scored_tokens == pytest.approx(work.scored_rows * mean(map(packed_length, rows)), rel=0.05)
    assert work.scored_tokens != unknown.scored_tokens


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


def test_a_run_that_trains_no_task_is_counted_by_what_it_scores(study: Study) -> None:
    run = study.runs[0]
    data = run.data.model_copy(update={"calibrated": ()})
    carried = run.model_copy(update={"data": data, "train": None})
    assert carried.data.trained_tasks == ()

    work = estimator(study, "village-gemma3").work(carried)

    assert (work.steps, work.rows_per_step) == (0, 0.0)
    assert work.scored_tokens > 0
    assert work.row_tokens == estimator(study, "village-gemma3").work(run).row_tokens


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
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: s\nsuite: ledger\ntasks: [written-6]\neval_size: 5\nseeds: [0]\nsources: [ledger-qwen3-xs]\n"
        "targets: [ledger-gemma3]\nmethods:\n  hypernet:\n    size: 48\n"
        "    train: {epochs: 1, batch_size: 4, evaluate: last_epoch, balance: answer_tokens}\n"
    )
    study = load_study(path)
    (run,) = study.runs
    tokenizer = load_tokenizer("ledger-gemma3")
    rows = RowTable(
        encode_examples(
            ((e, "train") for task in study.tasks for e in study.suite.examples(task, "train")),
            tokenizer,
            max_prompt=768,
        )
    )

    work = estimator(study, "ledger-gemma3").work(run)

    order = DataOrder(run, {"ledger-gemma3": rows})
    assert len(set(order.batches.values())) > 1
    assert work.steps == max(order.batches.values())


def test_forwards_that_write_answers_are_about_as_many_as_it_takes(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: s\nsuite: ledger\ntasks: [written-6]\neval_size: 50\nseeds: [0]\nsources: [ledger-qwen3-xs]\n"
        "targets: [ledger-gemma3]\nmethods: {base: {}}\n"
    )
    study, base = load_study(path), load_base("ledger-gemma3")
    examples = [
        example
        for split in SPLITS
        if split != "train"
        for task in study.tasks
        for example in study.suite.examples(task, split)[:50]
    ]
    rows = list(encode_examples(((each, "test") for each in examples), base.tokenizer, max_prompt=768))
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
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: s\nsuite: ledger\ntasks: [written-6]\neval_size: 5\nseeds: [0]\nsources: [ledger-qwen3-xs]\n"
        "targets: [ledger-gemma3]\nmethods:\n  base: {}\n  hypernet:\n    size: 48\n"
        "    train: {epochs: 3, rounds_per_epoch: 2, evaluate: every_epoch, keep: best_validation, "
        f"test_scores: {scored}}}\n"
    )
    study = load_study(path)
    found = estimator(study, "ledger-gemma3")
    once, work = (
        found.work(next(run for run in study.runs if run.method == method)) for method in ("base", "hypernet")
    )

    assert work.writing_forwards == pytest.approx(evaluations * once.writing_forwards, rel=0.15)
