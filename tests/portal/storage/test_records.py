"""A finished run's files are those of its marker, wherever a part of its folder is read."""

from pathlib import Path

import pytest

from portal.storage.paths import file_sha256
from portal.storage.records import check_unaltered, enclosing_run, read_marker, write_marker

NAMES = ("config.json", "portal.json")


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """An artifact, without a record, in a finished run."""
    folder = tmp_path / "run" / "artifact"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    write_marker(tmp_path / "run", {"artifact/config.json": file_sha256(folder / "config.json")})
    return folder


def digests(folder: Path) -> dict[str, str | None]:
    return {name: file_sha256(folder / name) if (folder / name).is_file() else None for name in NAMES}


def test_files_as_they_were_pass_also_through_a_link_and_a_folder_that_no_finished_run_has_written(
    artifact: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(artifact)
    for folder in (artifact, tmp_path / "link"):
        check_unaltered(folder, digests(folder))
        assert enclosing_run(folder) == (tmp_path / "run").resolve()

    (artifact / "config.json").write_text("{ }")
    copy, inside = tmp_path / "copy", tmp_path / "run" / "exported"
    artifact.rename(copy)
    inside.mkdir()
    for folder in (copy, inside):
        check_unaltered(folder, digests(folder))


def test_an_altered_missing_or_added_file_is_refused(artifact: Path, tmp_path: Path) -> None:
    config = artifact / "config.json"
    config.write_text("{ }")
    with pytest.raises(ValueError, match=f"{config}: altered .* delete .*/run and run again"):
        check_unaltered(artifact, digests(artifact))
    config.unlink()
    with pytest.raises(ValueError, match=r"config.json: altered"):
        check_unaltered(artifact, digests(artifact))
    config.write_text("{}")
    (artifact / "portal.json").write_text("{}")
    with pytest.raises(ValueError, match=r"portal.json: altered"):
        check_unaltered(artifact, digests(artifact))


def test_a_marker_that_is_none_is_refused_with_a_remedy_and_without_one_nothing_is_promised(
    artifact: Path,
) -> None:
    marker = artifact.parent / "DONE.json"
    for content in ("{", "[]", "{}", '{"files": []}', "\x00"):
        marker.write_text(content)
        with pytest.raises(
            ValueError, match=rf"^{marker}: not a run's marker \(.+\); delete the run's folder and run again$"
        ):
            read_marker(artifact.parent)
    marker.unlink()

    assert read_marker(artifact.parent) is None
    assert enclosing_run(artifact) is None
