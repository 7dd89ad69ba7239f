"""A base whose second half lies on the disk: what a machine without a second GPU can divide."""

import logging
from pathlib import Path

from accelerate import dispatch_model

from portal.bases.base import Base, divide

_accelerate_log = logging.getLogger("accelerate.big_modeling")


def divide_over_disk(base: Base, folder: Path) -> None:
    """Divide the base in place as over two GPUs; layers of the second are kept in `folder` and read in turn.

    What is on the second beside layers stays in memory.
    """
    division = divide(base.model, 2, "default", base.model.dtype)
    on_disk = [name for name in base.layers if division[name] == 1]
    places = {name: "disk" if name in on_disk else "cpu" for name in division}
    level = _accelerate_log.level
    _accelerate_log.setLevel(logging.ERROR)  # it warns of layers on the disk, which are there on purpose
    try:
        dispatch_model(base.model, places, main_device="cpu", offload_dir=str(folder))
    finally:
        _accelerate_log.setLevel(level)
