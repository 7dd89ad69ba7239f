"""Result folders that several tests read."""

from pathlib import Path

import pytest

from tests.support.result_tables import StudyBuilder, fill_demo


@pytest.fixture(scope="session")
def demo_builder() -> StudyBuilder:
    """The rows of a study like the demo; read only."""
    return fill_demo(StudyBuilder())


@pytest.fixture(scope="session")
def demo_results(demo_builder: StudyBuilder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result folder of a study like the demo; read only."""
    return demo_builder.write(tmp_path_factory.mktemp("demo") / "results")
