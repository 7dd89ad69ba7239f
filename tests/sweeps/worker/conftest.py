"""The job of a lane."""

from pathlib import Path

import pytest

from portal.storage.paths import Folder
from sweeps.launch.tokenize import prepare_rows
from sweeps.study.expand import Study
from sweeps.worker.job import LaneJob


@pytest.fixture
def job(finished: Path, tiny_study: Study) -> LaneJob:
    """A lane's job in the folder of a finished study."""
    rows: dict[str, Folder] = prepare_rows(tiny_study.suite, tiny_study.data, tiny_study.bases, finished)
    return LaneJob(
        out=str(finished),
        token="0" * 16,
        lane=0,
        packs=(),
        rows={base: str(path) for base, path in rows.items()},
    )
