"""Result folders that several tests read."""

from pathlib import Path

import pytest

from analysis.report.html import ReportOptions
from analysis.report.write import ReportInput, write_report
from portal.results import AbsentRun, StudyInfo
from tests.support.result_tables import StudyBuilder, fill_demo


@pytest.fixture(scope="session")
def demo_builder() -> StudyBuilder:
    """The rows of a study like the demo; read only."""
    return fill_demo(StudyBuilder())


@pytest.fixture(scope="session")
def demo_results(demo_builder: StudyBuilder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result folder of a study like the demo; read only."""
    return demo_builder.write(tmp_path_factory.mktemp("demo") / "results")


@pytest.fixture(scope="session")
def demo_report(demo_results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a report of that study with what its record may hold; read only."""
    info = StudyInfo(
        facts={"command": "portal demo", "versions": {"torch": "2.9"}},
        failed=(
            AbsentRun(run="abc", method="portal", base="mini-gemma3", cause="loss is <nan>", log="x.log"),
        ),
        missing=(AbsentRun(method="lora", base="mini-gemma3", size=64, seed=2),),
        notes=("A note & more.",),
    )
    out = tmp_path_factory.mktemp("report") / "out"
    return write_report([ReportInput(demo_results, "demo", info)], out, ReportOptions(title="Demo <1>"))
