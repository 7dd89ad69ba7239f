"""The public names of analysis are there, lazily, and enough to go from a folder of tables to a report."""

from pathlib import Path

import pytest

import analysis
from tests.support.result_tables import known, study_with_port


def test_every_public_name_is_found_and_listed_and_another_is_an_attribute_error() -> None:
    for name in analysis.__all__:
        assert getattr(analysis, name).__name__ == name
    assert set(analysis.__all__) <= set(dir(analysis))
    with pytest.raises(AttributeError, match="module 'analysis' has no attribute 'find'"):
        analysis.find  # noqa: B018


def test_a_folder_of_tables_becomes_numbers_text_and_a_page(tmp_path: Path) -> None:
    results = study_with_port(0.7).write(tmp_path / "results")
    (target,) = analysis.load_findings(results).targets
    study = analysis.ReportInput(results, info=analysis.StudyInfo(facts={"study": "mine"}))

    page = analysis.write_report([study], tmp_path, analysis.ReportOptions(price=3.5))

    assert f"{100 * known(known(target.port).lift.value):.1f} %" in analysis.summary_table(results)
    assert page == tmp_path / "index.html"
    assert "price at 3.5 a device-hour" in page.read_text(encoding="utf-8")
