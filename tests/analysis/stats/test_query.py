"""Which scores meet a query, and the means that it is answered with."""

from dataclasses import replace
from itertools import product

import pytest

from analysis.stats.query import Query
from analysis.stats.result_table import ResultSet, gather_runs
from tests.support.result_tables import row, to_table


@pytest.fixture(scope="module")
def study() -> ResultSet:
    """A base, a LoRA and two ports with scores that tell run, task, size, seed and epoch apart."""
    rows = []
    places = product((4, 16), (0, 1), (("portal", 0.5), ("half", 0.4)), (1, 2), ("validation", "test"))
    for task, low in (("easy", 0.2), ("hard", 0.0)):
        rows.append(row(run="b", task=task, acc_norm=0.1 + low, log_loss=3.0))
    tasks = (("easy", 0.2), ("hard", 0.0))
    for (size, seed, (label, high), epoch, split), (task, low) in product(places, tasks):
        is_trained_on = label == "portal" or task == "easy"
        rows.append(
            row(
                run=f"{label}{size}{seed}", method="portal", label=label, sources=["small"], size=size,
                seed=seed, modules="q,v", rank=8, task=task, epoch=epoch, split=split, log_loss=1.0,
                acc_norm=high + low + size / 1000 + seed / 100 + epoch / 10000,
                calibrated=is_trained_on, train_rows=size if is_trained_on else 0,
            )
        )  # fmt: skip
    return replace(gather_runs(to_table(rows)), kinds={"easy": "plain"})


def answers(study: ResultSet, text: str, *by: str) -> dict[tuple[object, ...], float]:
    query = Query.parse(text, by) if by else Query.parse(text)
    return {answer.group: answer.score for answer in query.answer(study).groups}


def test_scores_are_means_over_tasks_and_runs_at_the_reported_epoch(study: ResultSet) -> None:
    found = answers(study, "method=half")

    assert list(found) == [("half", "big", 4), ("half", "big", 16)]
    assert found["half", "big", 4] == pytest.approx(0.4 + 0.1 + 0.004 + 0.005 + 0.0002)
    (answer, _) = Query.parse("method=half").answer(study).groups
    assert (answer.tasks, answer.runs, answer.log_loss) == (2, ("half40", "half41"), 1.0)


def test_a_method_is_named_by_its_own_name_or_the_studys(study: ResultSet) -> None:
    assert {group[0] for group in answers(study, "method=portal")} == {"portal", "half"}
    assert {group[0] for group in answers(study, "method=h*")} == {"half"}
    assert {group[0] for group in answers(study, "method!=half")} == {"base", "portal"}
    assert {group[0] for group in answers(study, "method=base,half")} == {"base", "half"}


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("size<=4", [4]),
        ("size>4", [16]),
        ("size!=4", [None, 16]),
        ("size=none", [None]),
        ("size=4,16", [4, 16]),
    ],
)
def test_numbers_are_compared_and_one_that_is_missing_meets_no_order(
    study: ResultSet, text: str, sizes: list[int | None]
) -> None:
    assert [group[0] for group in answers(study, text, "size")] == sizes


def test_all_conditions_have_to_be_met(study: ResultSet) -> None:
    found = answers(study, "method=half size=16 seed=1 task=hard", "run")

    assert found == {("half161",): pytest.approx(0.4 + 0.016 + 0.01 + 0.0002)}


def test_epochs_and_splits_are_all_there_once_they_are_asked_about(study: ResultSet) -> None:
    assert list(answers(study, "method=half epoch>=1", "epoch")) == [(1,), (2,)]
    assert list(answers(study, "method=half", "split")) == [("validation",), ("test",)]
    assert list(answers(study, "method=half split=validation", "split")) == [("validation",)]
    assert list(answers(study, "method=half epoch=2 split=test size=4", "size")) == [(4, "test", 2)]


def test_tasks_have_kinds_and_were_trained_on_or_not(study: ResultSet) -> None:
    assert list(answers(study, "method=half", "kind")) == [("plain",), ("no kind",)]
    assert list(answers(study, "trained_on=no", "method", "task")) == [("half", "hard")]
    assert list(answers(study, "trained_on=none", "method")) == [("base",)]


def test_modules_are_asked_for_as_they_stand_and_spaces_do_not_matter(study: ResultSet) -> None:
    assert list(answers(study, "modules = q,v size <= 4", "method")) == [("portal",), ("half",)]
    assert list(answers(study, "modules=none", "method")) == [("base",)]


def test_a_run_of_which_no_epoch_can_be_chosen_is_left_out_and_told() -> None:
    rows = [row(run="a", method="lora", seed=0, size=4, epoch=epoch, acc_norm=0.5) for epoch in (1, 2)]
    found = Query.parse("method=lora").answer(gather_runs(to_table([*rows, row(run="b")])))

    assert found.groups == ()
    assert found.left_out == {"a": "no validation rows to choose an epoch on"}
    every = Query.parse("method=lora epoch>0").answer(gather_runs(to_table(rows)))
    assert [answer.group[-1] for answer in every.groups] == [1, 2]


def test_scores_that_nothing_meets_are_none(study: ResultSet) -> None:
    assert answers(study, "score>0.99") == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("method", "'method' is no condition: COLUMN=VALUE, or with !=, <, <=, > or >="),
        ("sizes=4", "condition 'sizes=4': unknown column 'sizes'; did you mean 'size'?"),
        ("task<easy", "condition 'task<easy': task has = and != only"),
        ("size<=many", "condition 'size<=many': 'many' is no number"),
        ("size<none", "condition 'size<none': 'none' is no number"),
        ("size=nan", "condition 'size=nan': 'nan' is no number"),
        ("task='easy", 'query "task=\'easy": a quotation mark has no second one'),
        ("modules=None", "no score has modules 'None'; known: q,v"),
        ("method=port", "no score has method 'port'; did you mean 'portal'?"),
        ("task=esy", "no score has task 'esy'; did you mean 'easy'?"),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(study: ResultSet, text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        Query.parse(text).answer(study)
    assert str(raised.value) == fault


def test_scores_are_not_gathered_by_numbers_without_steps(study: ResultSet) -> None:
    with pytest.raises(ValueError, match="unknown column 'score' to gather by"):
        Query.parse("size=4", ("score",))
