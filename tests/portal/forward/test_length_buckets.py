"""Padded lengths are few, and each is the smallest that holds the row."""

from hypothesis import given
from hypothesis import strategies as st

from portal.forward.length_buckets import bucket_length


@given(length=st.integers(1, 5000))
def test_a_bucket_is_the_smallest_known_length_that_holds_the_row(length: int) -> None:
    bucket = bucket_length(length)

    assert bucket >= length
    assert bucket_length(bucket) == bucket
    limits = {64: 4, 128: 8, 256: 16, 512: 32}
    assert bucket - length < next((grain for limit, grain in limits.items() if length <= limit), 64)


def test_few_bucket_lengths_serve_every_prompt() -> None:
    assert len({bucket_length(length) for length in range(1, 769)}) == 16 + 8 + 8 + 8 + 4
