"""The record of a study in its output folder comes back as it was, or is refused."""

from pathlib import Path

import pytest

from sweeps.study.expand import Study, load_study
from sweeps.study.manifest import read_manifest, record_manifest


def test_a_manifest_comes_back_as_it_was_with_kinds_of_tasks_and_those_of_its_source(
    study_path: Path, tiny_study: Study, tmp_path: Path
) -> None:
    text = study_path.read_text().replace("suite: mini", "suite: village")
    text = text.replace("[fact_qa, counting]", "[home_01, colour_02]")
    assert text.count("  source:\n") == 1
    study_path.write_text(text.replace("  source:\n", "  source:\n    tasks: [home_03]\n"))
    study = load_study(study_path)

    for number, manifest in enumerate((tiny_study.manifest, study.manifest)):
        record_manifest(tmp_path / str(number), manifest)
        assert read_manifest(tmp_path / str(number)) == manifest

    assert study.manifest.kinds == {"home_01": "home", "colour_02": "colour", "home_03": "home"}
    assert study.manifest.own_tasks == study.own_tasks == ("home_01", "colour_02")
    assert study.tasks == ("home_01", "colour_02", "home_03")
    (path,) = (tmp_path / "0" / "studies").iterdir()
    assert "kinds" not in path.read_text()
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"tiny\.json: not a study's record"):
        read_manifest(tmp_path / "0")
    for damaged in ("{}", "{", "[]"):  # the remedy that the refusal names
        path.write_text(damaged)
        record_manifest(tmp_path / "0", tiny_study.manifest)
        assert read_manifest(tmp_path / "0") == tiny_study.manifest


def test_groups_of_the_studys_own_tasks_come_back(tmp_path: Path) -> None:
    study = load_study("new-tasks")

    record_manifest(tmp_path, study.manifest)

    groups = read_manifest(tmp_path).task_groups
    assert groups == study.manifest.task_groups
    assert set(groups) == {"new-frames", "new-answers", "new-kinds"}
    assert {task for tasks in groups.values() for task in tasks} == set(study.own_tasks)
    assert load_study("demo").manifest.task_groups == {}
