"""The public names of analysis are there, lazily, and enough to go from a folder of tables to a report."""

from pathlib import Path

import pytest

import analysis


def test_every_public_name_is_found_and_listed() -> None:
    for name in analysis.__all__:
        assert getattr(analysis, name).__name__ == name
    assert set(analysis.__all__) <= set(dir(analysis))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'analysis' has no attribute 'find'"):
        analysis.find  # noqa: B018


@pytest.mark.slow
def test_a_folder_of_tables_becomes_numbers_text_and_a_page(demo_results: Path, tmp_path: Path) -> None:
    findings = analysis.load_findings(demo_results)
    assert [target.base for target in findings.targets] == ["mini-gemma3", "mini-qwen3-m"]
    (port, *_) = [target.port for target in findings.targets]
    assert port is not None
    assert port.lift.value is not None
    assert f"{100 * port.lift.value:.1f} %" in analysis.summary_table(demo_results)

    study = analysis.ReportInput(demo_results, info=analysis.StudyInfo(facts={"study": "mine"}))
    page = analysis.write_report([study], tmp_path, analysis.ReportOptions(price=3.5))
    assert page == tmp_path / "index.html"
    assert "price at 3.5 a device-hour" in page.read_text(encoding="utf-8")
