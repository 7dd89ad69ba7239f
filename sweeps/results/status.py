"""`read_status`: how far a study is, as its output folder says."""

from portal.storage.paths import Folder
from sweeps.store.output_folder import check_exists
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study
from sweeps.study.manifest import StudyManifest


def read_status(study: Study | StudyManifest, out: Folder) -> StudyStatus:
    """Which runs of the study are done, in training, failed or missing in `out`.

    ValueError when there is no such folder.
    """
    check_exists(out)
    return StudyStatus.read(RunStore(out), study.runs)
