"""The record of a study in its output folder comes back as it was, or is refused."""

from pathlib import Path

import pytest

from sweeps.study.expand import Study
from sweeps.study.manifest import read_manifest, record_manifest


def test_a_manifest_comes_back_as_it_was(tiny_study: Study, tmp_path: Path) -> None:
    record_manifest(tmp_path, tiny_study.manifest)
    assert read_manifest(tmp_path) == tiny_study.manifest


def test_a_manifest_that_is_none_is_refused_by_name(tiny_study: Study, tmp_path: Path) -> None:
    record_manifest(tmp_path, tiny_study.manifest)
    (tmp_path / "studies" / "tiny.json").write_text("{}")

    with pytest.raises(ValueError, match=r"tiny\.json: not a study's record"):
        read_manifest(tmp_path)
