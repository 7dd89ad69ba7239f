"""The record of a study in its output folder comes back as it was, or is refused."""

from pathlib import Path

import pytest

from sweeps.study.expand import Study, load_study
from sweeps.study.manifest import read_manifest, record_manifest


def test_a_manifest_comes_back_as_it_was(tiny_study: Study, tmp_path: Path) -> None:
    record_manifest(tmp_path, tiny_study.manifest)
    assert read_manifest(tmp_path) == tiny_study.manifest


def test_the_kinds_of_tasks_come_back_and_an_earlier_versions_record_has_none(
    study_path: Path, tiny_study: Study, tmp_path: Path
) -> None:
    text = study_path.read_text().replace("suite: mini", "suite: village")
    study_path.write_text(text.replace("[fact_qa, counting]", "[home_01, colour_02]"))
    manifest = load_study(study_path).manifest

    record_manifest(tmp_path, manifest)

    assert read_manifest(tmp_path) == manifest
    assert manifest.kinds == {"home_01": "home", "colour_02": "colour"}
    assert "kinds" not in tiny_study.manifest.record()


def test_the_studys_own_tasks_come_back_where_its_source_has_others(study_path: Path, tmp_path: Path) -> None:
    text = study_path.read_text()
    assert text.count("  source:\n") == 1
    study_path.write_text(text.replace("  source:\n", "  source:\n    tasks: [pronoun]\n"))
    study = load_study(study_path)

    record_manifest(tmp_path, study.manifest)

    assert read_manifest(tmp_path).own_tasks == study.own_tasks == ("fact_qa", "counting")
    assert study.tasks == ("fact_qa", "counting", "pronoun")


def test_groups_of_the_studys_own_tasks_come_back(tmp_path: Path) -> None:
    study = load_study("new-tasks")

    record_manifest(tmp_path, study.manifest)

    groups = read_manifest(tmp_path).task_groups
    assert groups == study.manifest.task_groups
    assert set(groups) == {"new-frames", "new-answers", "new-kinds"}
    assert {task for tasks in groups.values() for task in tasks} == set(study.own_tasks)
    assert load_study("demo").manifest.task_groups == {}


def test_a_manifest_that_is_none_is_refused_by_name(tiny_study: Study, tmp_path: Path) -> None:
    record_manifest(tmp_path, tiny_study.manifest)
    (tmp_path / "studies" / "tiny.json").write_text("{}")

    with pytest.raises(ValueError, match=r"tiny\.json: not a study's record"):
        read_manifest(tmp_path)
