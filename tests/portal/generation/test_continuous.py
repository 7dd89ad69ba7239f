"""Rows join in groups, all of them at last."""

from hypothesis import given
from hypothesis import strategies as st

from portal.generation.continuous import num_joining


def test_rows_join_where_an_eighth_of_the_places_is_free() -> None:
    for live, waiting, places, joining in (
        (0, 500, 128, 128),
        (113, 500, 128, 0),
        (112, 500, 128, 16),
        (112, 3, 128, 3),
        (1, 0, 128, 0),
        (0, 1, 1, 1),
        (1, 5, 1, 0),
        (1, 5, 2, 1),
    ):
        assert num_joining(live, waiting, places) == joining


@given(st.integers(0, 200), st.integers(1, 200), st.integers(1, 200))
def test_no_row_joins_without_a_place_and_none_waits_for_nothing(
    live: int, waiting: int, places: int
) -> None:
    live = min(live, places)

    joining = num_joining(live, waiting, places)

    assert 0 <= joining <= min(waiting, places - live)
    assert joining or live  # else no step would follow
