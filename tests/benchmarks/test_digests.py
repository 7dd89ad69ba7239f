"""Processes of a node wait for one digest: the last of several has it when the first has."""

from benchmarks.digests import measure


def test_every_process_waits_for_a_digest_of_all_files() -> None:
    point = measure(2**26, 2, lanes=3, repeats=1)

    assert (point.num_bytes, point.files, point.lanes) == (2**26, 2, 3)
    assert point.one_s > 0
    assert point.all_s > 0
