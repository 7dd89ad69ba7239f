"""A link names a new target at once: who reads it meets the old one or the new one."""

from pathlib import Path

from portal.storage.atomic import replace_link


def test_a_link_is_replaced_whole_and_moves_with_its_folder(tmp_path: Path) -> None:
    place = tmp_path / "out" / "artifact"
    for name in ("first", "second"):
        (tmp_path / "out" / "runs" / name).mkdir(parents=True)
        (tmp_path / "out" / "runs" / name / "file").write_text(name)

    replace_link(place, tmp_path / "out" / "runs" / "first")
    before = (place / "file").read_text()
    replace_link(place, tmp_path / "out" / "runs" / "second")
    (tmp_path / "out").rename(tmp_path / "moved")

    assert before == "first"
    assert (tmp_path / "moved" / "artifact" / "file").read_text() == "second"
    assert sorted(path.name for path in (tmp_path / "moved").iterdir()) == ["artifact", "runs"]
