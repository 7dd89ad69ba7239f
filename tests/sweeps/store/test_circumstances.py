"""What a run's process knew comes back, also from records of earlier versions."""

import pytest

from sweeps.store.circumstances import Circumstances


@pytest.mark.parametrize(
    "circumstances",
    [Circumstances(4, ("fused",), ("base hybrid: q of 4 layers are adapted as q in 2",)), Circumstances(1)],
)
def test_they_come_back_from_what_a_folder_keeps(circumstances: Circumstances) -> None:
    assert Circumstances.from_json(circumstances.to_json()) == circumstances


def test_what_earlier_versions_did_not_record_is_unknown() -> None:
    assert Circumstances.from_json({"threads": 2}) == Circumstances(2)
    assert Circumstances.from_json({}) == Circumstances(None, (), ())
