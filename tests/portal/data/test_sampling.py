"""Data order is a pure function of (seed, step)."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from portal.data.sampling import balanced_sizes, batch_rows, calibration_rows, evaluation_rows, num_batches
from portal.data.token_rows import TokenRow
from tests.support.bases import make_row

SEEDS = st.integers(0, 2**31)


def rows_of(count: int, task: str = "colours") -> list[TokenRow]:
    return [make_row((1,), ((2,), (3,)), task=task, name=f"{index:04d}") for index in range(count)]


def names(rows: Sequence[TokenRow]) -> list[str]:
    return [row.id for row in rows]


@given(count=st.integers(1, 60), small=st.integers(1, 70), more=st.integers(0, 20), seed=SEEDS)
def test_a_calibration_set_is_a_prefix_of_every_larger_one(
    count: int, small: int, more: int, seed: int
) -> None:
    rows = rows_of(count)

    smaller = calibration_rows(rows, small, seed)
    larger = calibration_rows(rows, small + more, seed)

    assert len(smaller) == min(small, count)
    assert larger[: len(smaller)] == smaller
    assert calibration_rows(rows, None, seed)[: len(larger)] == larger


def test_batches_of_like_answer_tokens_have_the_rows_of_those_of_like_rows() -> None:
    assert balanced_sizes(4, {"a": 3.0, "b": 3.0}) == {"a": 4, "b": 4}
    assert balanced_sizes(4, {"short": 2.0, "long": 6.0}) == {"short": 6, "long": 2}
    assert balanced_sizes(1, {"short": 1.0, "long": 1000.0}) == {"short": 2, "long": 1}


@given(size=st.integers(1, 64), tokens=st.lists(st.floats(1, 500), min_size=1, max_size=20))
def test_no_task_of_a_balanced_batch_is_without_a_row_or_has_more_tokens_than_one_of_shorter_answers(
    size: int, tokens: list[float]
) -> None:
    answers = {str(place): each for place, each in enumerate(tokens)}

    found = balanced_sizes(size, answers)

    assert min(found.values()) >= 1
    assert sum(found.values()) <= size * len(tokens) + len(tokens)
    ordered = [found[task] for task in sorted(answers, key=lambda task: answers[task])]
    assert ordered == sorted(ordered, reverse=True)


def test_calibration_and_evaluation_rows_are_drawn_from_everywhere_by_seed_and_task() -> None:
    rows = rows_of(1000)
    small, large, scored = (
        calibration_rows(rows, 125, 0),
        calibration_rows(rows, 250, 0),
        evaluation_rows(rows, 99),
    )

    assert set(names(small)) < set(names(large))
    assert len(set(names(large))) == 250
    for drawn in (small, large, scored):
        assert min(names(drawn)) < "0200"
        assert max(names(drawn)) > "0800"
    assert names(calibration_rows(rows, 125, 1)) != names(small)
    assert names(calibration_rows(rows_of(1000, "sums"), 125, 0)) != names(small)
    assert evaluation_rows(rows, 99) == scored != tuple(rows[:99])


@given(
    count=st.integers(1, 30),
    batch_size=st.integers(1, 8),
    seed=SEEDS,
    stream=st.integers(0, 3),
    number=st.integers(0, 5),
)
def test_every_pass_covers_each_row_once(
    count: int, batch_size: int, seed: int, stream: int, number: int
) -> None:
    rows = rows_of(count)
    batches = num_batches(count, batch_size)

    drawn = [
        batch_rows(rows, batch_size=batch_size, seed=seed, stream=stream, step=number * batches + index)
        for index in range(batches)
    ]

    assert Counter(row for batch in drawn for row in batch) == Counter(rows)
    assert [len(batch) for batch in drawn[:-1]] == [batch_size] * (batches - 1)


@given(step=st.integers(0, 1000), seed=SEEDS)
def test_a_batch_depends_on_seed_and_step_alone(step: int, seed: int) -> None:
    rows = rows_of(11)
    first = batch_rows(rows, batch_size=4, seed=seed, stream=0, step=step)
    batch_rows(rows, batch_size=4, seed=seed, stream=0, step=step + 1)

    assert batch_rows(rows, batch_size=4, seed=seed, stream=0, step=step) == first


def test_passes_streams_seeds_and_tasks_have_orders_of_their_own_and_none_that_of_calibration() -> None:
    def order(*, seed: int = 0, stream: int = 0, number: int = 0, task: str = "colours") -> tuple[str, ...]:
        rows = rows_of(40, task)
        return tuple(names(batch_rows(rows, batch_size=40, seed=seed, stream=stream, step=number)))

    orders = [order(), order(number=1), order(stream=1), order(seed=1), order(task="sums")]
    orders.append(tuple(names(calibration_rows(rows_of(40), None, 0))))

    assert len(set(orders)) == len(orders)


@given(count=st.integers(1, 50), size=st.integers(1, 60))
def test_evaluation_rows_are_at_most_size_in_the_rows_own_order(count: int, size: int) -> None:
    chosen = evaluation_rows(rows_of(count), size)

    assert len(chosen) == min(size, count)
    assert names(chosen) == sorted(set(names(chosen)))
