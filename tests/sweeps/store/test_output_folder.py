"""A place that cannot be a study's output folder is refused by name."""

from pathlib import Path

import pytest

from sweeps.store.output_folder import check_exists, check_usable, check_writable


@pytest.mark.parametrize("check", [check_writable, check_usable])
def test_a_place_below_a_file_is_refused(check, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ValueError, match="file/out: cannot be written"):
        check(tmp_path / "file" / "out")


def test_a_place_that_is_not_there_yet_is_usable_and_stays_away(tmp_path: Path) -> None:
    check_usable(tmp_path / "a" / "b")

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="a/b: no such folder; check --out"):
        check_exists(tmp_path / "a" / "b")
    check_writable(tmp_path / "a" / "b")
    check_exists(tmp_path / "a" / "b")
