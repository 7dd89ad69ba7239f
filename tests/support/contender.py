"""A process that asks for a folder's lease at the same moment as others; it imports nothing that is slow."""

import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

from portal.storage.paths import open_folder
from sweeps.store.lease import InUse, acquire

PATIENCE_S = 250.0
REFUSED = "refused"


def contend(url: str, together: Barrier, answers: list[Path], place: int) -> None:
    """Write the token that this process got, or REFUSED, to its answer; keep the lease until all have one."""
    together.wait(PATIENCE_S)
    try:
        answer = acquire(open_folder(url)).token
    except InUse:
        answer = REFUSED
    answers[place].write_text(answer)
    deadline = time.monotonic() + PATIENCE_S
    while not all(path.exists() for path in answers) and time.monotonic() < deadline:
        time.sleep(0.05)
