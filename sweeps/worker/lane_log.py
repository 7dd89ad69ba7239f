"""`lane_log`: the file that a lane's log records go to while it works."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portal.storage.paths import Folder, local_place


def log_path(out: Folder, lane: int, rank: int = 0) -> Path:
    """The log file of a worker of the lane, on the machine where it runs; rank 0 leads its worker group."""
    name = f"lane-{lane}.{rank}.log" if rank else f"lane-{lane}.log"
    return local_place(out) / "logs" / name


@contextmanager
def lane_log(path: Path) -> Iterator[None]:
    """Append log records of our packages, from INFO on, to the file, and send them nowhere else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("portal", "sweeps")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        handler.close()
