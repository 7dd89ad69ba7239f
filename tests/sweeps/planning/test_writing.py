"""Forwards of written answers: bounds that hold for any rows, and cases that can be counted by hand."""

from hypothesis import given
from hypothesis import strategies as st

from portal.generation.generate import MAX_POSITIONS, MAX_ROWS
from sweeps.planning.writing import Writing

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


def test_a_row_that_joins_is_read_in_a_forward_of_its_own() -> None:
    # Places of two: the two longest prompts are read (1) and written on (2); the third is read (3) beside the
    # answer of four tokens, which goes on with it (4, 5).
    assert forwards([(9, 4), (8, 2), (7, 3)], 2) == 5


def test_rows_of_unlike_lengths_are_batches_of_their_own_where_they_cannot_share_one() -> None:
    rows = [(9, 4), (9, 2), (9, 5), (7, 3), (7, 1)]

    assert forwards(rows, 2, is_continuous=False) == 4 + 5 + 3
    assert forwards(rows, 5, is_continuous=False) == 5 + 3


def test_nothing_is_read_or_written_without_rows() -> None:
    assert Writing.of([], 1, is_continuous=True) == Writing(0.0, 0.0, 0.0)
