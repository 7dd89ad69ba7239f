"""Processes of a node wait for one digest of all files of a base."""

import pytest

from benchmarks.digests import measure


@pytest.mark.nightly
def test_a_digest_of_more_bytes_takes_longer_for_one_process_and_for_several() -> None:
    small, large = (measure(num_bytes, 2, lanes=3, repeats=1) for num_bytes in (2**20, 2**29))

    assert (large.num_bytes, large.files, large.lanes) == (2**29, 2, 3)
    assert large.one_s > small.one_s
    assert large.all_s > small.all_s
